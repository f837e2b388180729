"""What is made, step by step, and what it leaves."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from bridge_nerf.errors import UserError
from bridge_nerf.images.pictures import note_in
from bridge_nerf.images.run import optimise_images
from bridge_nerf.images.wishes import load
from bridge_nerf.space import orders
from bridge_nerf.space.race import race
from bridge_nerf.space.studio import Studio, duration
from bridge_nerf.space.visitors import Visitors


@pytest.fixture(scope="module")
def studio() -> Studio:
    studio = Studio(lambda: load("toybox"))
    studio.open()
    return studio


@pytest.fixture
def room(tmp_path):
    return Visitors(tmp_path).room("somebody", "image")


def order_of(studio: Studio, **options) -> orders.Order:
    name, prior = studio.ready()
    return orders.text_to_image(name, prior, "a duck", **{"steps": 12} | options)


def test_pictures_come_one_after_the_other_and_the_last_one_says_how_it_was_made(studio, room, tmp_path):
    order = order_of(studio, objective="sds")
    moments = list(studio.make(order, room))
    frames = {moment.picture.read_bytes() for moment in moments}
    assert len(frames) >= 10 and all(moment.files is None for moment in moments[:-1])
    files = moments[-1].files
    note = note_in(files.picture)
    assert note["done"] == 12 and note["command"] == order.command and "seed" in note
    made = optimise_images(order.specs[0], tmp_path / "run", studio.ready()[1])
    assert np.array_equal(np.asarray(Image.open(files.picture)), np.asarray(Image.open(made.pictures[0])))
    assert files.video.read_bytes()[4:8] == b"ftyp"
    assert files.numbers.read_text().splitlines()[0] == "step,objective,saturation,pull"


def test_stop_keeps_the_picture_as_it_is(studio, room):
    order = order_of(studio, steps=200, seed=5)
    last = None
    for moment in studio.make(order, room):
        last = moment
        if moment.shots[-1].done >= 2:
            room.stop.set()
    done = last.shots[-1].done
    assert 2 <= done < 200 and last.files is not None and f"step {done} of 200" in last.line
    assert note_in(last.files.picture)["done"] == done


def test_what_was_made_before_is_there_at_once(studio, room, monkeypatch):
    order = order_of(studio, seed=9)
    first = list(studio.make(order, room))[-1]
    picture = first.files.picture.read_bytes()
    monkeypatch.setattr(studio, "_race", None)
    again = list(studio.make(order_of(studio, seed=9), room))
    assert len(again) == 1 and again[0].files.picture.read_bytes() == picture


def test_all_in_a_race_have_the_same_start_times_and_noise(studio):
    _, prior = studio.ready()
    order = orders.race("toybox", prior, "a duck", ["sds", "nfsd"], 0, 10)
    together = list(race(order.specs, prior))
    assert np.array_equal(*together[0].pictures)
    assert not np.array_equal(*together[-1].pictures)
    alone = list(race(order.specs[1:], prior))
    assert np.array_equal(alone[-1].pictures[0], together[-1].pictures[1])


def test_runs_that_take_too_long_for_others_are_refused(studio, room, monkeypatch):
    monkeypatch.setattr("bridge_nerf.space.studio.LONGEST", 1e-3)
    with pytest.raises(UserError, match="others wait"):
        list(studio.make(order_of(studio, seed=33), room))


def test_a_prior_that_cannot_be_had_is_said_to_whoever_waits():
    def gone():
        raise UserError("there is no prior here")

    studio = Studio(gone)
    studio.open()
    with pytest.raises(UserError, match="no prior here"):
        studio.ready(10)


def test_durations_in_words():
    assert [duration(s) for s in (0.2, 8.4, 89, 150)] == ["1 s", "8 s", "89 s", "2 min"]


def test_a_sheet_of_a_race_names_each_picture(studio, room):
    _, prior = studio.ready()
    order = orders.race("toybox", prior, "a duck", ["sds", "csd"], 1, 10)
    files = list(studio.make(order, room))[-1].files
    picture = Image.open(io.BytesIO(files.picture.read_bytes()))
    assert picture.width > 2 * 256 and picture.height > 256
    note = json.loads(picture.info["bridge_nerf"])
    assert [entry["spec"]["objective"] for entry in note["race"]] == ["sds", "csd"]
    assert replace(order).key == order.key
