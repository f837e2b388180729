"""ZeroGPU, pretended: a GPU for a while and for the optimisation alone, asked for by a package `spaces`."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bridge_nerf.app import requests
from bridge_nerf.app.sessions import Sessions
from bridge_nerf.app.snapshots import Snapshot
from bridge_nerf.app.worker import GPU_MARGIN, GPU_START_S, Worker
from bridge_nerf.errors import UserError
from bridge_nerf.guidance.config import PriorConfig

ROOT = Path(__file__).parents[2]
ASKS = ("eps", "embed", "encode", "decode")
"""What of a prior computes."""


class Spaces(ModuleType):
    """The part of `spaces` that the app uses, after its source (0.51.3, zero/wrappers.py): a call of a
    wrapped generator asks for the duration, with the arguments of the call, which are then pickled.
    """

    def __init__(self) -> None:
        super().__init__("spaces")
        self.asked: list[int] = []
        self.on_gpu = False

    def GPU(self, duration):
        def decorated(task):
            def handler(*arguments, **named):
                self.asked.append(duration(*arguments, **named))
                arguments, named = pickle.loads(pickle.dumps((arguments, named)))
                course = task(*arguments, **named)
                while True:
                    self.on_gpu = True
                    try:
                        snapshot = next(course)
                    except StopIteration:
                        return
                    finally:
                        self.on_gpu = False
                    yield pickle.loads(pickle.dumps(snapshot))

            return handler

        return decorated


@pytest.fixture
def spaces(monkeypatch) -> Spaces:
    monkeypatch.setenv("SPACES_ZERO_GPU", "1")
    fake = Spaces()
    monkeypatch.setitem(sys.modules, "spaces", fake)
    return fake


@pytest.fixture(scope="module")
def toybox():
    return PriorConfig("toybox").load()[1]


@pytest.fixture
def worker(app, spaces, toybox) -> Worker:
    """What `app.py` makes on ZeroGPU, of a prior that answers on the GPU alone."""
    there: Any = SimpleNamespace(**vars(toybox), check_prompts=toybox.check_prompts)

    def only_there(name):
        def ask(*given):
            assert spaces.on_gpu, f"{name} outside of the GPU's time"
            return getattr(toybox, name)(*given)

        return ask

    for name in ASKS:
        setattr(there, name, only_there(name))
    worker = Worker("toybox", lambda: there, **app.zero_gpu_options())
    worker.open()
    return worker


@pytest.fixture
def session(tmp_path):
    return Sessions(tmp_path).get("somebody", "image")


def request_for(worker: Worker, tab: str, **changed):
    name, prior = worker.prior_name, worker.prior()
    if tab == "compare":
        return requests.compare(name, prior, "a duck", ["sds", "nfsd"], steps=10, **changed)
    if tab == "paint":
        painting = ROOT / "assets" / "paintings" / "house.png"
        return requests.painting_to_real(name, prior, painting, "a house", steps=10, **changed)
    return requests.text_to_image(name, prior, "a duck", "sds", **{"steps": 10} | changed)


@pytest.mark.parametrize("tab", ["image", "paint", "compare"])
def test_networks_are_asked_while_there_is_a_gpu_and_never_else(worker, spaces, session, tab):
    updates = list(worker.make(request_for(worker, tab), session))
    assert updates[-1].status.startswith("Done: 10 steps") and updates[-1].files[0].exists()
    assert spaces.asked == [120]  # no step time is known


def learned(worker: Worker, seconds: float) -> None:
    """A run of sds has been finished whose steps took that long, after a first one of three seconds."""
    nothing = np.zeros((1, 1, 1, 3), np.uint8)
    snapshots = [Snapshot(k, 10, 3 + (k - 1) * seconds if k else 0.0, nothing, (), ()) for k in (0, 1, 5, 10)]
    worker._times.learn("sds", snapshots)


@pytest.mark.parametrize(
    ("steps", "pace", "expected"),
    [(10, 0.01, GPU_MARGIN * GPU_START_S), (200, 0.1, GPU_MARGIN * (GPU_START_S + 20)), (900, 0.1, 120)],
)
def test_a_gpu_is_asked_for_as_long_as_the_run_takes(worker, spaces, session, steps, pace, expected):
    learned(worker, pace)
    assert worker.estimate(["sds"], steps) == pytest.approx(GPU_START_S + steps * pace)
    request = request_for(worker, "image", steps=steps)
    session.close()  # the first snapshot is enough
    list(worker.make(request, session))
    assert expected <= spaces.asked[0] < expected + 1 and isinstance(spaces.asked[0], int)


def test_no_gpu_is_asked_for_what_takes_too_long(worker, spaces, session):
    learned(worker, 1.0)
    with pytest.raises(UserError, match="about 2 min.*at most 2 min"):
        list(worker.make(request_for(worker, "image", steps=120), session))
    assert not spaces.asked
    session.stop.clear()
    assert worker.gpu_seconds(request_for(worker, "image", steps=100).specs, None) == 120


def test_after_a_gpu_was_taken_away_the_step_time_counts_as_unknown(worker, spaces, session, monkeypatch):
    learned(worker, 0.01)

    def taken(*_):
        raise RuntimeError("GPU task aborted")
        yield

    monkeypatch.setattr("bridge_nerf.app.worker.snapshots", taken)
    with pytest.raises(RuntimeError, match="aborted"):
        list(worker.make(request_for(worker, "image"), session))
    assert spaces.asked[0] < 120
    assert worker.estimate(["sds"], 10) is None


def test_without_zero_gpu_nothing_is_asked(app, spaces, monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU")
    assert app.zero_gpu_options() == {}
