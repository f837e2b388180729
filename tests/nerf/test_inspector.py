"""The viewer's inspector, without a viewer; `test_viewer` drives a real one."""

from __future__ import annotations

import html
import math
import threading
from collections.abc import Callable
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bridge_nerf.errors import UserError
from bridge_nerf.nerf.engine import checkpoint
from bridge_nerf.nerf.engine.trainer import BridgeTrainer, BridgeTrainerConfig
from bridge_nerf.nerf.inspector import Look, heat
from bridge_nerf.nerf.pipeline import BridgePipeline
from bridge_nerf.nerf.scene.orbit import turntable
from bridge_nerf.pixels import to_bytes
from tests.nerf.stub import StubPrior
from tests.nerf.test_guidance import guided

Train = Callable[[BridgeTrainerConfig, str], BridgeTrainer]


def look(azimuth: float = 0.0, t: float = 0.5, elevation: float = 15.0) -> Look:
    a, e = math.radians(azimuth), math.radians(elevation)
    place = torch.tensor([math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e)])
    return Look(torch.cat([torch.eye(3), 3.3 * place[:, None]], 1)[None], 40.0, t)


def shown(pipeline: BridgePipeline) -> str:
    return html.unescape(pipeline.inspector.c_answer.content)


def viewer(pipeline: BridgePipeline, state: str, step: int = 4) -> Any:
    """What the panel knows of a viewer."""
    trainer = SimpleNamespace(training_state=state, step=step, train_lock=threading.Lock())
    fake = SimpleNamespace(trainer=None if state == "shown" else trainer)
    pipeline.inspector.run.viewer = pipeline.controls.run.viewer = fake  # type: ignore[assignment]
    return fake


def test_a_view_is_shown_with_its_guesses_and_words() -> None:
    pipeline = guided(objective="bridge", train_resolution=16, background="white")
    says, (render, pull, target, source) = pipeline.inspect(look(170.0), 3)
    assert says == "step 3, stage 2, t = 0.5 T, azimuth 170 and elevation 15 degrees"
    assert [each.title for each in (render, pull, target, source)] == ["render", "pull", "target", "source"]
    assert target.words.startswith("a ball, back view, white background, detailed")
    assert source.words == "a ball, back view, white background, blurry"
    for guess in (target, source):  # the stub's images are point masses, which any noise leads to
        expected = to_bytes(StubPrior().image(guess.words)[None])[0]
        assert np.abs(guess.pixels.astype(int) - expected).max() <= 1
    assert render.pixels.shape == (16, 16, 3)
    assert "a ball, overhead view" in pipeline.inspect(look(elevation=80.0), 3).pictures[2].words


def test_the_same_look_is_answered_alike() -> None:
    pipeline = guided(objective="bridge", train_resolution=16)
    one, again, other = (pipeline.inspect(look(t=t), 3).pictures for t in (0.5, 0.5, 0.2))
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(one, again, strict=True))
    assert one[1].words != other[1].words


@pytest.mark.parametrize(
    ("objective", "title"),
    [
        ("sds", "source (empty prompt)"),
        ("nfsd", "source (negative prompt)"),
        ("vsd", "source (adapter)"),
        ("bridge-ode", "source"),
    ],
)
def test_every_objective_can_be_inspected(objective: str, title: str) -> None:
    pipeline = guided(objective=objective, train_resolution=16, guidance_scale=2.0, stage_start=0)
    says, pictures = pipeline.inspect(look(), 0)
    assert "stage 1" in says and pictures[3].title == title


def test_looking_changes_nothing(config: BridgeTrainerConfig, trained: Train) -> None:
    config.pipeline.objective, config.pipeline.orient_every = "vsd", 2
    plain = trained(deepcopy(config), "plain")
    made: list[int] = []

    class Looking(BridgeTrainer):
        def train_iteration(self, step: int) -> Any:
            self.pipeline.inspector.b_inspect.pressed(None)
            made.append(step)
            return super().train_iteration(step)

    config._target = Looking
    looking = trained(config, "looking")
    assert made == list(range(6)) and "step 5, " in shown(looking.pipeline)
    one, other = (checkpoint.read(checkpoint.latest(trainer.checkpoint_dir)) for trainer in (plain, looking))
    assert one["pipeline"].keys() == other["pipeline"].keys()
    for name, value in one["pipeline"].items():
        assert torch.equal(value, other["pipeline"][name]), name
    torch.testing.assert_close(one["optimizers"], other["optimizers"], rtol=0, atol=0)


def test_a_press_is_answered_by_the_next_step() -> None:
    pipeline = guided(objective="bridge", train_resolution=16)
    pipeline.inspector.b_inspect.pressed(None)
    assert "The next step answers this" in shown(pipeline)
    pipeline.inspector.answer(2)
    assert "step 2, stage 1" in shown(pipeline) and shown(pipeline).count("<img ") == 4
    pipeline.inspector.c_answer.content = ""
    pipeline.inspector.answer(3)
    assert not shown(pipeline), "it was not pressed again"


@pytest.mark.parametrize("state", ["paused", "completed"])
def test_where_no_step_is_made_the_press_answers(state: str) -> None:
    pipeline = guided(objective="bridge", train_resolution=16)
    viewer(pipeline, state)
    pipeline.inspector.b_inspect.pressed(None)
    assert "step 4, stage 2" in shown(pipeline)


def test_a_pause_answers_what_its_last_step_has_not() -> None:
    pipeline = guided(objective="bridge", train_resolution=16)
    fake = viewer(pipeline, "training")
    pipeline.inspector.b_inspect.pressed(None)
    pipeline.inspector.answer_idly()
    assert "The next step" in shown(pipeline)
    fake.trainer.training_state = "paused"
    pipeline.inspector.answer_idly()
    assert "step 4" in shown(pipeline)


def test_the_view_is_the_visitors() -> None:
    pipeline = guided(objective="bridge", train_resolution=16, background="white")
    fake = viewer(pipeline, "paused")
    places = {"one": 0.0, "other": 90.0}
    fake.get_camera_state = lambda visitor: SimpleNamespace(c2w=look(places[visitor]).poses[0].double())
    for visitor, azimuth, view in (("one", 0, "front"), ("other", 90, "side")):
        pipeline.inspector.b_inspect.pressed(visitor)  # type: ignore[arg-type]
        assert f"azimuth {azimuth} " in shown(pipeline) and f"{view} view" in shown(pipeline)


def test_a_prior_that_fails_at_looking_ends_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = guided(objective="bridge", train_resolution=16)

    def decode(latents: torch.Tensor) -> torch.Tensor:
        raise ValueError("of a plug-in")

    monkeypatch.setattr(pipeline.distiller.prior, "decode", decode)
    pipeline.inspector.b_inspect.pressed(None)
    pipeline.inspector.answer(0)
    assert "Not inspected: of a plug-in" in shown(pipeline).replace("&#45;", "-")


def test_what_cannot_be_inspected_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = guided(objective="bridge", train_resolution=16)
    monkeypatch.setattr(pipeline.distiller.prior, "encode", lambda images: images * torch.nan)
    pipeline.inspector.b_inspect.pressed(None)
    pipeline.inspector.answer(0)
    assert "Not inspected: 1 of 1 images hold numbers that are not finite" in shown(pipeline)


def test_heat_goes_from_blue_to_red() -> None:
    gradient = torch.zeros(1, 4, 2, 2)
    gradient[0, :, 0, 1] = 1.5
    picture = heat(gradient)
    assert picture.words == "0 (blue) to 3 (red)"
    cold, hot = picture.pixels[0]
    assert hot[0] > hot[2] and cold[2] > cold[0]
    assert (heat(torch.zeros(1, 4, 2, 2)).pixels == cold).all()
    with pytest.raises(UserError, match="not finite"):
        heat(gradient / 0)


def test_the_usual_camera_stands_in_front() -> None:
    pipeline = guided(objective="bridge", train_resolution=16)
    assert torch.equal(pipeline.inspector._usual.poses(), turntable(1, 15.0, 3.3, 40.0).poses())
