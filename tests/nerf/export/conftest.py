"""An object whose surface is known: an egg that stands off the middle, coloured by place."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from bridge_nerf.nerf.model import BridgeModel
from bridge_nerf.nerf.scene.orbit import Orbit, turntable
from tests.nerf.test_model import make

CENTRE, RADII, SOFTNESS = torch.tensor([0.1, -0.05, 0.0]), torch.tensor([0.4, 0.3, 0.5]), 0.01


class Egg(nn.Module):
    """A field with an opaque ellipsoid in it, and a crumb beside that."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: Float[Tensor, "k 3"]) -> tuple[Float[Tensor, "k"], Float[Tensor, "k 3"]]:
        inside = 1 - ((x - CENTRE) / RADII).norm(dim=-1)
        crumb = 0.05 - (x - torch.tensor([0.7, 0.0, 0.4])).norm(dim=-1)
        return 200 * (torch.maximum(inside * 0.3, crumb) / SOFTNESS).sigmoid(), (x + 1) / 2


@pytest.fixture
def egg() -> BridgeModel:
    """The model of an egg."""
    model = make(eval_samples=192).eval()
    model.field = Egg()
    return model


@pytest.fixture
def around() -> Orbit:
    """Cameras on all sides."""
    return turntable(6, 15.0, 3.3, 40.0)
