"""What is made, step by step, and what it leaves."""

from __future__ import annotations

import inspect
import io
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from bridge_nerf.app import requests
from bridge_nerf.app.compare import race
from bridge_nerf.app.sessions import Visitors
from bridge_nerf.app.timing import duration
from bridge_nerf.app.worker import Studio
from bridge_nerf.errors import UserError
from bridge_nerf.images.image_files import note_in
from bridge_nerf.images.run import optimise_images
from bridge_nerf.images.wishes import load
from tests.waiting import PATIENCE


@pytest.fixture(scope="module")
def studio() -> Studio:
    studio = Studio(lambda: load("toybox"))
    studio.open()
    return studio


@pytest.fixture
def room(tmp_path):
    return Visitors(tmp_path).room("somebody", "image")


def order_of(studio: Studio, **options) -> requests.Order:
    name, prior = studio.ready()
    return requests.text_to_image(name, prior, "a duck", **{"steps": 12} | options)


def test_images_come_one_after_the_other_and_the_last_one_says_how_it_was_made(studio, room, tmp_path):
    order = order_of(studio, objective="sds")
    moments = list(studio.make(order, room))
    frames = {moment.image.read_bytes() for moment in moments}
    assert len(frames) >= 10 and all(moment.files is None for moment in moments[:-1])
    files = moments[-1].files
    note = note_in(files.image)
    assert note["done"] == 12 and note["command"] == order.command and "seed" in note
    made = optimise_images(order.specs[0], tmp_path / "run", studio.ready()[1])
    assert np.array_equal(np.asarray(Image.open(files.image)), np.asarray(Image.open(made.images[0])))
    assert files.video.read_bytes()[4:8] == b"ftyp"
    assert files.numbers.read_text().splitlines()[0] == "step,objective,saturation,pull"


@pytest.mark.parametrize(
    "place, lost",
    [
        ("bridge_nerf.app.results.video", "video"),
        ("bridge_nerf.app.sessions.Room.keep", "image"),
    ],
)
def test_an_image_is_delivered_without_its_video_or_preview(studio, room, monkeypatch, capsys, place, lost):
    def fail(*_):
        raise RuntimeError("cannot")

    monkeypatch.setattr(place, fail)
    last = list(studio.make(order_of(studio, objective="sds", seed=41), room))[-1]
    assert note_in(last.files.image)["done"] == 12 and last.files.numbers.exists()
    assert (last.files.video is None) == (lost == "video") == ("the video could not be made" in last.line)
    assert (last.image is None) == (lost == "image")
    assert "could not be made, everything else goes on: cannot" in capsys.readouterr().err
    studio._kept.clear()


def test_stop_keeps_the_image_as_it_is(studio, room):
    order = order_of(studio, steps=200, seed=5)
    last = None
    for moment in studio.make(order, room):
        last = moment
        if moment.shots[-1].done >= 2:
            room.stop.set()
    done = last.shots[-1].done
    assert 2 <= done < 200 and last.files is not None and f"step {done} of 200" in last.line
    assert note_in(last.files.image)["done"] == done


def test_what_was_made_before_is_there_at_once(studio, room, monkeypatch):
    order = order_of(studio, seed=9)
    first = list(studio.make(order, room))[-1]
    image = first.files.image.read_bytes()
    monkeypatch.setattr(studio, "_race", None)
    again = list(studio.make(order_of(studio, seed=9), room))
    assert len(again) == 1 and again[0].files.image.read_bytes() == image


def test_all_in_a_race_have_the_same_start_times_and_noise(studio):
    _, prior = studio.ready()
    order = requests.race("toybox", prior, "a duck", ["sds", "nfsd"], 0, 10)
    together = list(race(order.specs, prior))
    assert np.array_equal(*together[0].images)
    assert not np.array_equal(*together[-1].images)
    alone = list(race(order.specs[1:], prior))
    assert np.array_equal(alone[-1].images[0], together[-1].images[1])


def test_runs_that_take_too_long_for_others_are_refused(studio, room):
    busy = Studio(studio.ready, longest=1e-3)
    busy.open()
    with pytest.raises(UserError, match="others wait"):
        list(busy.make(order_of(busy, seed=33), room))


def test_a_run_that_was_stopped_is_no_measure_of_pace(studio, room):
    fresh = Studio(studio.ready)
    fresh.open()
    before = fresh.estimate(["sds"], 100)
    for _ in fresh.make(order_of(fresh, objective="sds", steps=200, seed=6), room):
        room.stop.set()
    assert fresh.estimate(["sds"], 100) == before


def test_what_was_made_until_something_went_wrong_is_kept(studio, room, monkeypatch):
    _, prior = studio.ready()

    def breaking(specs, start):
        for shot in race(specs, prior, start):
            yield shot
            if shot.done == 3:
                raise RuntimeError("the GPU was taken away")

    monkeypatch.setattr(studio, "_race", breaking)
    moments = []
    with pytest.raises(RuntimeError, match="taken away"):
        for moment in studio.make(order_of(studio, seed=21), room):
            moments.append(moment)
    assert note_in(moments[-1].files.image)["done"] == 3 and "step 3" in moments[-1].line


def in_another_process(asked, seconds):
    """What ZeroGPU does to a race, but for the process: it must be a generator, and all it takes and gives is
    pickled.
    """
    assert inspect.isgeneratorfunction(inspect.unwrap(asked.__func__))  # under the check of shapes

    def wrapped(*arguments):
        for shot in asked(*pickle.loads(pickle.dumps(arguments))):
            yield pickle.loads(pickle.dumps(shot))

    return wrapped


def test_a_race_can_run_in_a_process_that_has_a_gpu(studio, room, monkeypatch):
    apart = Studio(studio.ready, in_another_process, longest=120)
    apart.open()
    assert apart.estimate(["sds"], 10) is None  # this process must not touch the GPU
    last = list(apart.make(order_of(apart, objective="sds", seed=2), room))[-1]
    assert last.line.startswith("Done") and last.files is not None
    assert apart.estimate(["sds"], 10) is not None

    def broken(*_):
        raise UserError("gradient not finite at step 4")

    monkeypatch.setattr("bridge_nerf.app.compare.race", broken)
    with pytest.raises(UserError, match="at step 4"):
        list(apart.make(order_of(apart, objective="sds", seed=3), room))


def test_remembered_results_hold_one_image_and_no_film(studio, room):
    order = order_of(studio, objective="sds", seed=11)
    list(studio.make(order, room))
    *lean, last = studio._kept[order.key].shots
    assert last.images.size and all(s.images.size == 0 and s.images.base is None for s in lean)


def test_a_prior_that_cannot_be_had_is_said_to_whoever_waits():
    def gone():
        raise UserError("there is no prior here")

    studio = Studio(gone)
    studio.open()
    for _ in range(2):
        with pytest.raises(UserError, match="no prior here"):
            studio.ready(PATIENCE)


def test_durations_in_words():
    assert [duration(s) for s in (0.2, 8.4, 89, 150)] == ["1 s", "8 s", "89 s", "2 min"]


def test_a_sheet_of_a_race_names_each_image(studio, room):
    _, prior = studio.ready()
    order = requests.race("toybox", prior, "a duck", ["sds", "csd"], 1, 10)
    files = list(studio.make(order, room))[-1].files
    image = Image.open(io.BytesIO(files.image.read_bytes()))
    assert image.width > 2 * 256 and image.height > 256
    note = json.loads(image.info["bridge_nerf"])
    assert [entry["spec"]["objective"] for entry in note["race"]] == ["sds", "csd"]
    other = requests.race("toybox", prior, "a duck", ["sds", "csd"], 2, 10)
    assert other.key != order.key
