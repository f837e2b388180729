"""A small specification on a prior in closed form."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from bridge_nerf.annealing import TimestepRange
from bridge_nerf.distillation.config import ObjectiveConfig
from bridge_nerf.flags import leaves
from bridge_nerf.guidance.config import GuidanceConfig
from bridge_nerf.images.config import ImageConfig
from bridge_nerf.images.spec import Spec, subjects_for
from tests.nerf.stub import SIZE, StubPrior

CONFIG = ImageConfig(
    GuidanceConfig(
        objective=ObjectiveConfig(
            guidance_scale=2.0, stage_start=6, stage_two_scale=1.0, stage_two_anchor=1.0
        ),
        times=TimestepRange(0.02, 0.98, 0.5, 8),
    ),
    steps=12,
    learning_rate=0.1,
    decay_start=0.5,
)
SPEC = Spec(subjects_for(("a ball",), 3, 1), "stub", "bridge", CONFIG, (SIZE, SIZE))


@pytest.fixture
def prior() -> StubPrior:
    return StubPrior()


def changed(config: Any, **values: Any) -> Any:
    """The configuration with other values of some fields, of its parts' too."""
    config, left = deepcopy(config), set(values)
    for leaf in list(leaves(config)):
        if leaf.name in values:
            leaf.put(values[leaf.name])
            left.discard(leaf.name)
    assert not left, f"no such fields: {left}"
    return config


def several(seeds: range) -> Spec:
    """The specification with an image for each seed."""
    return replace(SPEC, subjects=subjects_for(("a ball",), seeds.start, len(seeds)))
