"""What is made, step by step, and what it leaves."""

from __future__ import annotations

import inspect
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from bridge_nerf.app import requests
from bridge_nerf.app.sessions import Sessions
from bridge_nerf.app.snapshots import snapshots
from bridge_nerf.app.timing import duration
from bridge_nerf.app.worker import Worker
from bridge_nerf.errors import UserError
from bridge_nerf.guidance.config import PriorConfig
from bridge_nerf.images.image_files import note_in
from bridge_nerf.images.run import optimise_images
from tests.waiting import PATIENCE


@pytest.fixture(scope="module")
def worker() -> Worker:
    worker = Worker("toybox", lambda: PriorConfig("toybox").load()[1])
    worker.open()
    return worker


@pytest.fixture
def session(tmp_path):
    return Sessions(tmp_path).get("somebody", "image")


def request_for(worker: Worker, **options) -> requests.ImageRequest:
    return requests.text_to_image("toybox", worker.prior(), "a duck", **{"steps": 12} | options)


def test_images_come_one_after_the_other_and_the_last_one_says_how_it_was_made(worker, session, tmp_path):
    request = request_for(worker, objective="sds")
    updates = list(worker.make(request, session))
    frames = {update.preview.read_bytes() for update in updates}
    assert len(frames) >= 10 and all(update.files is None for update in updates[:-1])
    png, csv, video = updates[-1].files
    note = note_in(png)
    assert note["done"] == 12 and note["command"] == request.command and "seed" in note
    made = optimise_images(request.specs[0], tmp_path / "run", worker.prior())
    assert np.array_equal(np.asarray(Image.open(png)), np.asarray(Image.open(made.images[0])))
    assert video.read_bytes()[4:8] == b"ftyp"
    assert csv.read_text().splitlines()[0] == "step,objective,saturation,pull"


@pytest.mark.parametrize(
    "place, lost",
    [
        ("bridge_nerf.app.results.video", "video"),
        ("bridge_nerf.app.sessions.Session.new_file", "image"),
    ],
)
def test_an_image_is_delivered_without_its_video_or_preview(
    worker, session, monkeypatch, capsys, place, lost
):
    def fail(*_):
        raise RuntimeError("cannot")

    monkeypatch.setattr(place, fail)
    last = list(worker.make(request_for(worker, objective="sds", seed=41), session))[-1]
    assert note_in(last.files[0])["done"] == 12 and last.files[1].exists()
    assert (last.files[2] is None) == (lost == "video") == ("the video could not be made" in last.status)
    assert (last.preview is None) == (lost == "image")
    assert "could not be made, everything else goes on: cannot" in capsys.readouterr().err
    worker._cache.clear()


def test_stop_keeps_the_image_as_it_is(worker, session):
    request = request_for(worker, steps=200, seed=5)
    last = None
    for update in worker.make(request, session):
        last = update
        if update.snapshots[-1].done >= 2:
            session.stop.set()
    done = last.snapshots[-1].done
    assert 2 <= done < 200 and last.files is not None and f"step {done} of 200" in last.status
    assert note_in(last.files[0])["done"] == done


def test_what_was_made_before_comes_at_once(worker, session, monkeypatch):
    request = request_for(worker, seed=9)
    first = list(worker.make(request, session))[-1]
    image = first.files[0].read_bytes()
    monkeypatch.setattr(worker, "_optimise", None)
    again = list(worker.make(request_for(worker, seed=9), session))
    assert len(again) == 1 and again[0].files[0].read_bytes() == image


def test_all_in_a_comparison_have_the_same_start_times_and_noise(worker):
    prior = worker.prior()
    request = requests.compare("toybox", prior, "a duck", ["sds", "nfsd"], 0, 10)
    together = list(snapshots(request.specs, prior))
    assert np.array_equal(*together[0].images)
    assert not np.array_equal(*together[-1].images)
    alone = list(snapshots(request.specs[1:], prior))
    assert np.array_equal(alone[-1].images[0], together[-1].images[1])


def test_runs_that_take_too_long_for_others_are_refused(worker, session):
    busy = Worker("toybox", worker.prior, max_seconds=1e-3)
    busy.open()
    with pytest.raises(UserError, match="others wait"):
        list(busy.make(request_for(busy, seed=33), session))


def test_a_run_that_was_stopped_is_no_measure_of_its_times(worker, session):
    fresh = Worker("toybox", worker.prior)
    fresh.open()
    before = fresh.estimate(["sds"], 100)
    for _ in fresh.make(request_for(fresh, objective="sds", steps=200, seed=6), session):
        session.stop.set()
    assert fresh.estimate(["sds"], 100) == before


def test_what_was_made_until_something_went_wrong_is_kept(worker, session, monkeypatch):
    prior = worker.prior()

    def breaking(specs, start):
        for snapshot in snapshots(specs, prior, start):
            yield snapshot
            if snapshot.done == 3:
                raise RuntimeError("the GPU was taken away")

    monkeypatch.setattr(worker, "_optimise", breaking)
    updates = []
    with pytest.raises(RuntimeError, match="taken away"):
        for update in worker.make(request_for(worker, seed=21), session):
            updates.append(update)
    assert note_in(updates[-1].files[0])["done"] == 3 and "step 3" in updates[-1].status


def in_another_process(optimise, seconds):
    """What ZeroGPU does to a run, but for the process: it must be a generator, and all it takes and gives is
    pickled.
    """
    assert inspect.isgeneratorfunction(inspect.unwrap(optimise.__func__))  # under the check of shapes

    def wrapped(*arguments):
        for snapshot in optimise(*pickle.loads(pickle.dumps(arguments))):
            yield pickle.loads(pickle.dumps(snapshot))

    return wrapped


def test_a_run_can_be_in_a_process_that_has_a_gpu(worker, session, monkeypatch):
    apart = Worker("toybox", worker.prior, in_another_process, max_seconds=120)
    apart.open()
    assert apart.estimate(["sds"], 10) is None  # this process must not touch the GPU
    last = list(apart.make(request_for(apart, objective="sds", seed=2), session))[-1]
    assert last.status.startswith("Done") and last.files is not None
    assert apart.estimate(["sds"], 10) is not None

    def broken(*_):
        raise UserError("gradient not finite at step 4")

    monkeypatch.setattr("bridge_nerf.app.worker.snapshots", broken)
    with pytest.raises(UserError, match="at step 4"):
        list(apart.make(request_for(apart, objective="sds", seed=3), session))


def test_cached_results_hold_one_image_and_no_film(worker, session):
    request = request_for(worker, objective="sds", seed=11)
    list(worker.make(request, session))
    *lean, last = worker._cache[request.key].snapshots
    assert last.images.size and all(s.images.size == 0 and s.images.base is None for s in lean)


def test_a_prior_that_cannot_be_loaded_is_said_to_all_who_wait(capsys):
    def gone():
        raise UserError("there is no prior in /home/me")

    worker = Worker("toybox", gone)
    worker.open()
    for _ in range(2):
        with pytest.raises(UserError, match="cannot be loaded; the app's log says why"):
            worker.prior(PATIENCE)
    assert capsys.readouterr().err == "the model cannot be loaded: there is no prior in /home/me\n"


def test_durations_in_words():
    assert [duration(s) for s in (0.2, 8.4, 89, 150)] == ["1 s", "8 s", "89 s", "2 min"]


def test_the_grid_of_a_comparison_names_each_image(worker, session):
    prior = worker.prior()
    request = requests.compare("toybox", prior, "a duck", ["sds", "csd"], 1, 10)
    png, *_ = list(worker.make(request, session))[-1].files
    image = Image.open(png)
    assert image.width > 2 * 256 and image.height > 256
    note = json.loads(image.info["bridge_nerf"])
    assert [entry["spec"]["objective"] for entry in note["compare"]] == ["sds", "csd"]
    other = requests.compare("toybox", prior, "a duck", ["sds", "csd"], 2, 10)
    assert other.key != request.key
