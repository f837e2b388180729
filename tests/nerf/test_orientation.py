"""Turning an object that stands back to front."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.configs import base_config  # noqa: F401  (before its other modules: they import each other)
from torch import Tensor

from bridge_nerf.guidance.views import ViewConfig
from bridge_nerf.nerf.engine.trainer import BridgeTrainer, BridgeTrainerConfig
from bridge_nerf.nerf.model import BridgeModel
from bridge_nerf.nerf.orientation import back_to_front, front_and_back
from bridge_nerf.nerf.pipeline import BridgePipeline
from bridge_nerf.nerf.scene.field import BridgeField
from bridge_nerf.nerf.scene.orbit import Orbit, OrbitConfig
from tests.nerf.stub import SIZE, StubPrior
from tests.nerf.test_guidance import guided


class TwoFaced(StubPrior):
    """Knows a ball on white whose front is red and whose back is blue."""

    def image(self, prompt: str) -> Float[Tensor, "3 h w"]:
        ball = super().image(prompt)
        return ball.flip(0) if "back view" in prompt else ball


class TwoFacedField(BridgeField):
    """A ball, red where its own x is positive, blue elsewhere."""

    def forward(self, x: Float[Tensor, "k 3"]) -> tuple[Float[Tensor, "k"], Float[Tensor, "k 3"]]:
        red = ((x * self.axes)[:, :1] > 0).float()
        density, _ = super().forward(x)
        return density, torch.cat([red, 0 * red, 1 - red], -1)


def look(model: BridgeModel, azimuth: float) -> Float[Tensor, "n 3"]:
    orbit = Orbit(*(torch.tensor([number]) for number in (azimuth, 15.0, 3.3, 40.0)))
    origins, directions = orbit.rays(SIZE)
    model.eval()
    with torch.no_grad():
        return model(RayBundle(origins, directions, pixel_area=torch.ones_like(origins[:, :1])))["rgb"]


def two_faced(turned: bool, **numbers: object) -> BridgePipeline:
    """A two-faced ball with its front in front, or behind."""
    torch.manual_seed(0)
    pipeline = guided(TwoFaced(), orient_every=2, orient_until=4, background="white", **numbers)
    model = pipeline.model
    model.field = TwoFacedField(model.config.field)
    if turned:
        model.turn_around()
    return pipeline


@pytest.mark.parametrize("encoding", ["grid", "hash"])
def test_half_a_turn_shows_what_was_behind(encoding: str) -> None:
    torch.manual_seed(0)
    model = guided(encoding=encoding, background="white").model
    for part in model.field.encoding.parameters():
        torch.nn.init.normal_(part)
    model.occupied = model.occupied & (torch.rand(model.occupied.shape) < 0.5)
    front, behind, cells = look(model, 40.0), look(model, 220.0), model.occupied.clone()
    assert (front - behind).abs().max() > 0.02
    model.turn_around()
    torch.testing.assert_close(look(model, 40.0), behind, atol=2e-5, rtol=0)
    assert torch.equal(model.occupied[3, 5], cells[-4, -6])
    model.turn_around()
    torch.testing.assert_close(look(model, 40.0), front, atol=2e-5, rtol=0)


def test_an_object_that_stands_back_to_front_is_turned_and_another_is_left() -> None:
    for turned in (True, False):
        pipeline = two_faced(turned)
        pipeline.train()
        pipeline.orient(2)
        assert pipeline.model.field.axes.tolist() == [1, 1, 1]


def test_it_is_asked_at_its_steps_only() -> None:
    pipeline = two_faced(turned=True)
    pipeline.train()
    seen = []
    pipeline.orient = seen.append  # type: ignore[method-assign]
    for step in range(8):
        pipeline.get_train_loss_dict(step)
        pipeline.get_eval_loss_dict(step)
    assert seen == [2, 4], "not before the first step, and not after the last"


def test_cameras_that_see_what_the_words_say() -> None:
    view = ViewConfig(front_angle=30, back_angle=120)
    orbit = front_and_back(OrbitConfig(), view)
    seen = [view.view(*pair) for pair in zip(orbit.azimuth.tolist(), orbit.elevation.tolist(), strict=True)]
    assert seen == ["front"] * 3 + ["back"] * 3
    assert (orbit.azimuth[3:] - orbit.azimuth[:3]).tolist() == [180] * 3


def test_a_resumed_run_stays_turned(
    config: BridgeTrainerConfig, trained: Callable[[BridgeTrainerConfig, str], BridgeTrainer]
) -> None:
    config.pipeline.orient_every = 0
    first = trained(config, "first")
    first.pipeline.model.turn_around()
    first.save_checkpoint(5)
    config.load_dir = first.checkpoint_dir
    config.max_num_iterations = 1
    second = trained(config, "second")
    assert second.pipeline.model.field.axes.tolist() == [-1, -1, 1]


def test_chance_turns_nothing() -> None:
    noise = torch.tensor([1.0, -0.7, 0.2, -0.6])[:, None] * torch.ones(4, 6)
    opposite = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
    assert not back_to_front(opposite, opposite), "a round object"
    assert not back_to_front(opposite + noise, opposite)
    assert back_to_front(opposite + noise + 0.5, opposite)
    assert not back_to_front(opposite + noise - 0.5, opposite)
