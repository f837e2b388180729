"""ZeroGPU, pretended: a GPU for a while and for the race alone, asked for by a package `spaces`."""

from __future__ import annotations

import importlib.util
import pickle
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bridge_nerf.app import requests
from bridge_nerf.app.compare import Shot
from bridge_nerf.app.sessions import Visitors
from bridge_nerf.app.worker import MARGIN, START, Studio
from bridge_nerf.errors import UserError
from bridge_nerf.images.wishes import load

APP = Path(__file__).parents[2] / "app.py"
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
                        shot = next(course)
                    except StopIteration:
                        return
                    finally:
                        self.on_gpu = False
                    yield pickle.loads(pickle.dumps(shot))

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
    return load("toybox")[1]


@pytest.fixture
def studio(spaces, toybox) -> Studio:
    """What `app.py` makes on ZeroGPU, of a prior that answers on the GPU alone."""
    there: Any = SimpleNamespace(**vars(toybox), check_prompts=toybox.check_prompts)

    def only_there(name):
        def ask(*given):
            assert spaces.on_gpu, f"{name} outside of the GPU's time"
            return getattr(toybox, name)(*given)

        return ask

    for name in ASKS:
        setattr(there, name, only_there(name))
    specification = importlib.util.spec_from_file_location("app", APP)
    assert specification is not None and specification.loader is not None
    app = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(app)
    studio = Studio(lambda: ("toybox", there), **app.zero_gpu())
    studio.open()
    return studio


@pytest.fixture
def room(tmp_path):
    return Visitors(tmp_path).room("somebody", "image")


def ordered(studio: Studio, tab: str, **changed):
    name, prior = studio.ready()
    if tab == "compare":
        return requests.race(name, prior, "a duck", ["sds", "nfsd"], steps=10, **changed)
    if tab == "paint":
        painting = APP.parent / "assets" / "paintings" / "house.png"
        return requests.painting_to_real(name, prior, painting, "a house", steps=10, **changed)
    return requests.text_to_image(name, prior, "a duck", "sds", **{"steps": 10} | changed)


@pytest.mark.parametrize("tab", ["image", "paint", "compare"])
def test_networks_are_asked_while_there_is_a_gpu_and_never_else(studio, spaces, room, tab):
    moments = list(studio.make(ordered(studio, tab), room))
    assert moments[-1].line.startswith("Done: 10 steps") and moments[-1].files.image.exists()
    assert spaces.asked == [120]  # nothing is known of the pace


def learned(studio: Studio, seconds: float) -> None:
    """A run of sds has been finished whose steps took that long, after a first one of three seconds."""
    nothing = np.zeros((1, 1, 1, 3), np.uint8)
    shots = [Shot(k, 10, 3 + (k - 1) * seconds if k else 0.0, nothing, (), ()) for k in (0, 1, 5, 10)]
    studio._paces.learn("sds", shots)


@pytest.mark.parametrize(
    ("steps", "pace", "expected"),
    [(10, 0.01, MARGIN * START), (200, 0.1, MARGIN * (START + 20)), (900, 0.1, 120)],
)
def test_a_gpu_is_asked_for_as_long_as_the_run_takes(studio, spaces, room, steps, pace, expected):
    learned(studio, pace)
    assert studio.estimate(["sds"], steps) == pytest.approx(START + steps * pace)
    order = ordered(studio, "image", steps=steps)
    room.leave()  # the first shot is enough
    list(studio.make(order, room))
    assert expected <= spaces.asked[0] < expected + 1 and isinstance(spaces.asked[0], int)


def test_no_gpu_is_asked_for_what_takes_too_long(studio, spaces, room):
    learned(studio, 1.0)
    with pytest.raises(UserError, match="about 2 min.*at most 2 min"):
        list(studio.make(ordered(studio, "image", steps=120), room))
    assert not spaces.asked
    room.stop.clear()
    assert studio.gpu_seconds(ordered(studio, "image", steps=100).specs, None) == 120


def test_after_a_gpu_was_taken_away_the_pace_counts_as_unknown(studio, spaces, room, monkeypatch):
    learned(studio, 0.01)

    def taken(*_):
        raise RuntimeError("GPU task aborted")
        yield

    monkeypatch.setattr("bridge_nerf.app.compare.race", taken)
    with pytest.raises(RuntimeError, match="aborted"):
        list(studio.make(ordered(studio, "image"), room))
    assert spaces.asked[0] < 120
    assert studio.estimate(["sds"], 10) is None


def test_without_zero_gpu_nothing_is_asked(spaces, monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU")
    specification = importlib.util.spec_from_file_location("app", APP)
    assert specification is not None and specification.loader is not None
    app = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(app)
    assert app.zero_gpu() == {}
