"""A step of each objective on each family of priors, as text to 3D takes it, on the pretended card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from bridge_nerf.distillation.config import ObjectiveConfig
from bridge_nerf.distillation.registry import OBJECTIVES, stages_for
from bridge_nerf.guidance.config import GuidanceConfig, PromptConfig
from bridge_nerf.guidance.distiller import Distiller, adapter_for, requested_slots
from bridge_nerf.guidance.prompts import PromptTable
from bridge_nerf.guidance.rng import PerStepDraws
from bridge_nerf.guidance.views import ViewConfig, view_texts
from bridge_nerf.nerf.scene.orbit import turntable
from bridge_nerf.priors.registry import load_prior
from tests.card.conftest import FAMILIES
from tests.card.memory import Ledger, on_card

OBJECTIVES = [name for name in OBJECTIVES if not stages_for(name).edits]


def check(prior, objective: str, stage_start: int) -> None:
    """A step's losses and gradients lie on the card, and are finite."""
    config = GuidanceConfig(
        PromptConfig("sharp", "blurry"),
        ObjectiveConfig(stage_start=stage_start, ode_steps=2),
        adapter_rank=2,
        errors_every=1,
    )
    adapter, draws = adapter_for(prior, objective, config, seed=0, camera=True), PerStepDraws(0)
    texts = view_texts("a red apple", config.prompts, ViewConfig(), ["white"], False)
    table = PromptTable(prior, list(texts.values()), requested_slots(objective, config))
    distiller = Distiller(prior, "given", objective, config, table, draws, adapter)
    side = prior.image_size
    images = torch.rand(1, 3, side, side, device="cuda", requires_grad=True)
    camera = None if adapter is None else turntable(1, 15.0, 3.3, 40.0).poses().to("cuda")
    losses, _ = distiller.step(lambda: prior.encode(images), 0, [0], camera)
    sum(losses.values(), torch.zeros(())).backward()
    learnt = [] if adapter is None else [p.grad for p in adapter.parameters() if p.grad is not None]
    assert learnt or adapter is None
    for value in (images.grad, *learnt, *losses.values()):
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
