"""A step of each objective on each family of priors, as text to 3D takes it, on the pretended card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from bridge_nerf.distillation.registry import OBJECTIVES, stages_for
from bridge_nerf.nerf.guidance import Guidance
from bridge_nerf.nerf.guidance_config import GuidanceConfig, Wishes
from bridge_nerf.nerf.scene.orbit import turntable
from bridge_nerf.priors.adapter import Adapter
from bridge_nerf.priors.registry import load_prior
from tests.card.conftest import FAMILIES
from tests.card.memory import Ledger, on_card

OBJECTIVES = [name for name in OBJECTIVES if not stages_for(name).edits]


def check(prior, objective: str, stage_start: int) -> None:
    """A step's losses and gradients lie on the card, and are finite."""
    config = GuidanceConfig(
        prior="given",
        objective=objective,
        stage_start=stage_start,
        ode_steps=2,
        target_descriptors="sharp",
        source_descriptors="blurry",
        errors_every=1,
    )
    adapter = Adapter(prior, 2, camera=True) if "vsd" in objective else None
    guidance = Guidance(prior, config, Wishes.of("a red apple", config), 0, ("white",), adapter)
    images = torch.rand(1, 3, 24, 24, device="cuda", requires_grad=True)
    judged = guidance.loss(images, turntable(1, 15.0, 3.3, 40.0), "white", 0)
    sum(judged.losses.values(), torch.zeros(())).backward()
    learnt = [] if adapter is None else [p.grad for p in adapter.parameters() if p.grad is not None]
    assert images.grad is not None and len(learnt) == 0 if adapter is None else learnt
    for value in (images.grad, *learnt, *judged.losses.values(), *judged.metrics.values()):
        assert value is not None and on_card(value) and torch.isfinite(value).all()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_of_each_objective(
    card: Ledger, folders: Mapping[str, Path], family: str, dtype: torch.dtype
) -> None:
    prior = load_prior(str(folders[family]), "cuda", dtype)
    for objective in OBJECTIVES:
        check(prior, objective, stage_start=0)
    check(prior, "bridge", stage_start=1)
