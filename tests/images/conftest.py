"""A small specification on a prior in closed form."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge_nerf.distillation.registry import StageOptions
from bridge_nerf.images.recipe import Recipe
from bridge_nerf.images.spec import Spec, subjects_for
from bridge_nerf.schedules import TimestepRange
from tests.nerf.stub import SIZE, StubPrior

RECIPE = Recipe(
    steps=12,
    learning_rate=0.1,
    rest=0.5,
    stages=StageOptions(guidance_scale=2.0, stage_start=6, stage_two_scale=1.0, stage_two_anchor=1.0),
    times=TimestepRange(0.02, 0.98, 0.5, 8),
)
SPEC = Spec(subjects_for(("a ball",), 3, 1), "stub", "bridge", RECIPE, (SIZE, SIZE))


@pytest.fixture
def prior() -> StubPrior:
    return StubPrior()


def several(seeds: range) -> Spec:
    """The specification with an image for each seed."""
    return replace(SPEC, subjects=subjects_for(("a ball",), seeds.start, len(seeds)))
