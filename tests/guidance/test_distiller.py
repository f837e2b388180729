"""A step of the distiller, against the core and against a descent whose end is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bridge_nerf.distillation.config import ObjectiveConfig
from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.distillation.loss import distillation_loss
from bridge_nerf.distillation.objectives import sds
from bridge_nerf.distillation.perp_neg import PerpNeg
from bridge_nerf.distillation.problem import Problem
from bridge_nerf.errors import UserError
from bridge_nerf.guidance.config import GuidanceConfig, PromptConfig
from bridge_nerf.guidance.distiller import DISTILLATION, Distiller, adapter_for, requested_slots
from bridge_nerf.guidance.prompts import PromptTable, slot_texts
from bridge_nerf.guidance.rng import PerImageDraws
from tests.nerf.stub import StubPrior

CONFIG = GuidanceConfig(PromptConfig("", "", negative_prompt="a ball, blurry"), ObjectiveConfig(3.0))


def distiller(prior: StubPrior, objective: str, config: GuidanceConfig) -> Distiller:
    texts = [slot_texts("a ball", config.prompts)] * 2
    adapter = adapter_for(prior, objective, config, seed=0)
    table = PromptTable(prior, texts, requested_slots(objective, config))
    return Distiller(prior, "stub", objective, config, table, PerImageDraws((1, 2)), adapter)


def latents() -> torch.Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("strength", [0.0, 1.5])
def test_a_step_is_the_cores_with_perp_neg_as_a_filter(strength: float) -> None:
    prior, config = StubPrior(), replace(CONFIG, perp_neg=strength)
    step = distiller(prior, "sds", config).step(latents, 4)
    conditions = {
        Slot.TARGET: prior.embed(["a ball"]),
        Slot.NULL: prior.embed([""]),
        Slot.NEGATIVE: prior.embed(["a ball, blurry"]),
    }
    filters = (PerpNeg(strength),) if strength else ()
    sample = PerImageDraws((1, 2)).sample(latents(), 4, config.times, 1000)
    expected = distillation_loss(sds(3.0), Problem(prior, conditions, filters=filters), sample)
    assert torch.equal(step.losses[DISTILLATION], expected.loss)
    assert step.numbers["pull"] == expected.metrics["pull"].item() and step.numbers["stage"] == 1


def test_perp_neg_changes_the_step() -> None:
    without, avoiding = (
        distiller(StubPrior(), "sds", replace(CONFIG, perp_neg=strength))
        .step(latents, 4)
        .losses[DISTILLATION]
        for strength in (0.0, 1.5)
    )
    assert not torch.equal(without, avoiding)


def test_the_adapter_has_the_rank_of_the_configuration() -> None:
    made = distiller(StubPrior(), "vsd", replace(CONFIG, adapter_rank=2))
    assert made.adapter is not None and {
        len(p) for n, p in made.adapter.named_parameters() if "down" in n
    } == {2}
    assert made.step(latents, 0).losses.keys() == {DISTILLATION, "adapter"}
    assert distiller(StubPrior(), "sds", CONFIG).adapter is None


def test_errors_are_measured_when_they_are_due() -> None:
    made = distiller(StubPrior(), "sds", replace(CONFIG, errors_every=3))
    measured = ["mismatch_source" in made.step(latents, step).numbers for step in range(4)]
    assert measured == [True, False, False, True]


def test_a_loss_of_others_that_is_not_finite_is_named_with_its_step() -> None:
    made = distiller(StubPrior(), "sds", CONFIG)
    beside = {"sparsity": torch.tensor(float("nan"))}
    with pytest.raises(UserError, match="step 4: the sparsity loss is nan: the render and"):
        made.step(latents, 4, beside=beside)


def test_a_render_that_is_not_finite_is_told_from_its_latents() -> None:
    made = distiller(StubPrior(), "sds", CONFIG)
    with pytest.raises(UserError, match="step 0: a rendered image is not finite"):
        made.step(lambda: latents() * torch.nan, 0, images=torch.full((1, 3, 2, 2), torch.nan))
    with pytest.raises(UserError, match="the latents are not finite"):
        made.step(lambda: latents() * torch.nan, 0, images=torch.zeros(1, 3, 2, 2))


def test_other_words_act_from_the_next_step_on() -> None:
    made = distiller(StubPrior(), "sds", CONFIG)
    before = made.step(latents, 4).losses[DISTILLATION]
    other = replace(CONFIG, prompts=PromptConfig("blurry", ""))
    texts = [slot_texts("a ball", other.prompts)] * 2
    made.apply(other, PromptTable(made.prior, texts, requested_slots("sds", other)))
    assert not torch.equal(made.step(latents, 4).losses[DISTILLATION], before)


def test_a_stage_can_be_held() -> None:
    held = distiller(StubPrior(), "bridge", replace(CONFIG, stage="2"))
    assert held.step(latents, 0).numbers["stage"] == 2
    with pytest.raises(UserError, match='"sds" has no stage 2'):
        distiller(StubPrior(), "sds", replace(CONFIG, stage="2"))
