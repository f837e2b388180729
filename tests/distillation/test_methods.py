"""Every method by name: its numbers, its cost, and that it takes a batch."""

from dataclasses import replace

import pytest
import torch

from bridge_nerf.distillation.config import ObjectiveConfig
from bridge_nerf.distillation.epsilon import NEGATIVE, NULL, Slot
from bridge_nerf.distillation.loss import distillation_loss
from bridge_nerf.distillation.objectives import Objective
from bridge_nerf.distillation.problem import Problem
from bridge_nerf.distillation.registry import OBJECTIVES, PRESETS, guidance_of, stages_for
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.errors import UserError

from .brute import LAST_STAGE, NOW, PROMPTS, REFERENCE, STEPS
from .worlds import MIXED_T, Counting, draws, single

SAMPLE = Sample(draws("x", 6, 2), MIXED_T, draws("noise", 6, 2))


def last(name: str) -> Objective:
    return stages_for(name, ObjectiveConfig(ode_steps=STEPS)).stages[-1].objective


def everything() -> tuple[Problem, Counting, Counting]:
    """A problem that answers every slot, its prior and its adapter."""
    prior, adapter = Counting(), Counting(NOW)
    conditions = {
        Slot(slot): (adapter if slot == "ADAPTER" else prior).embed([prompt])
        for slot, prompt in PROMPTS.items()
    }
    return Problem(prior, conditions, adapter, REFERENCE), prior, adapter


def test_every_method_has_its_reference():
    assert OBJECTIVES.keys() == LAST_STAGE.keys()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_batch_of_mixed_t_against_brute_force(name):
    gradient = last(name).gradient(everything()[0], SAMPLE).value
    rows = ((row.x, int(row.t), row.noise) for row in single(SAMPLE))
    torch.testing.assert_close(gradient, torch.cat([LAST_STAGE[name](*row) for row in rows]))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_batch_of_mixed_t_equals_single_calls(name):
    p, objective = everything()[0], last(name)
    together = objective.gradient(p, SAMPLE).value
    torch.testing.assert_close(
        together, torch.cat([objective.gradient(p, row).value for row in single(SAMPLE)])
    )


COST = {
    "sds": ([12], []),
    "nfsd": ([18], []),
    "csd": ([12], []),
    "asd": ([18], []),
    "vsd": ([12], [6]),
    "dds": ([24], []),
    "pds": ([24], []),
    "bridge": ([12], []),
    "ism": ([6] * STEPS + [12], []),
    "sdi": ([12] * STEPS + [12], []),
    "bridge-ode": ([6] * 2 * STEPS, []),
    "vsd-bridge": ([6] * STEPS, [6] * STEPS),
}
"""Rows of each call of the prior, and of the adapter, for a batch of 6."""


@pytest.mark.parametrize("name", OBJECTIVES)
def test_network_calls_of_a_step(name):
    p, prior, adapter = everything()
    last(name).gradient(p, SAMPLE)
    assert (prior.rows, adapter.rows) == COST[name]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_graph_goes_through_the_networks(name, monkeypatch):
    recording = []
    eps = Counting.eps

    def spied(self, x_t, t, condition):
        recording.append(torch.is_grad_enabled() or x_t.requires_grad)
        return eps(self, x_t, t, condition)

    monkeypatch.setattr(Counting, "eps", spied)
    x = SAMPLE.x.clone().requires_grad_()
    distilled = distillation_loss(last(name), everything()[0], replace(SAMPLE, x=x))
    distilled.loss.backward()
    assert recording and not any(recording)
    assert x.grad is not None and torch.equal(x.grad, distilled.gradient)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_slots_are_all_that_is_asked(name):
    stages = stages_for(name, ObjectiveConfig(stage_start=1))
    p = everything()[0]
    needed = {slot: condition for slot, condition in p.conditions.items() if slot in stages.slots}
    for step in (0, 1):
        objective = stages.at(step).objective
        full = objective.gradient(p, SAMPLE).value
        assert torch.equal(objective.gradient(replace(p, conditions=needed), SAMPLE).value, full)
    for slot in needed:
        less = {other: condition for other, condition in needed.items() if other != slot}
        with pytest.raises(UserError, match="nothing answers"):
            for step in (0, 1):
                stages.at(step).objective.gradient(replace(p, conditions=less), SAMPLE)


@pytest.mark.parametrize("name", ["dds", "pds"])
def test_an_edit_needs_its_reference(name):
    assert stages_for(name).edits and not stages_for("sds").edits
    p = everything()[0]
    with pytest.raises(UserError, match="reference"):
        last(name).gradient(replace(p, reference=None), SAMPLE)
    # An image that is its own reference, described alike, is left alone.
    alike = replace(
        p, conditions={**p.conditions, Slot.SOURCE: p.conditions[Slot.TARGET]}, reference=SAMPLE.x
    )
    assert not last(name).gradient(alike, SAMPLE).value.any()


@pytest.mark.parametrize("name", PRESETS)
def test_presets_keep_the_numbers_of_their_authors(name):
    own = ObjectiveConfig(guidance_scale=guidance_of(name))
    assert stages_for(name) == stages_for(name, own) == PRESETS[name]
    for option in ({"guidance_scale": 3.0}, {"stage_start": 7}, {"weighting": "uniform"}):
        with pytest.raises(UserError, match=f"{name} is a preset.*leave {next(iter(option))} out"):
            stages_for(name, ObjectiveConfig(**option))
    for stage in PRESETS[name].stages:
        assert torch.isfinite(stage.objective.gradient(everything()[0], SAMPLE).value).all()


def test_the_release_for_objects_has_no_weighting_in_stage_two():
    """At the times where the weight in images, 40 sigma^2, is 0.8, 29 and 40 times as much."""
    p, t = everything()[0], torch.tensor([21, 505, 979])
    sample = Sample(SAMPLE.x[:3], t, SAMPLE.noise[:3])
    ours, theirs = (PRESETS[name].at(10**6).objective for name in ("bridge:release", "bridge:release-3d"))
    ratio = ours.gradient(p, sample).value / theirs.gradient(p, sample).value
    torch.testing.assert_close(ratio[:, 0], torch.tensor([0.8, 29, 40]).double(), rtol=0.03, atol=0)
    # By hand: the difference of two answers, of the same network at the same point.
    x_t = sample.x_t(p.schedule)
    told = [p.prior.eps(x_t, t, p.conditions[slot].expand(3)) for slot in (Slot.TARGET, Slot.SOURCE)]
    torch.testing.assert_close(theirs.gradient(p, sample).value, told[0] - told[1])


def test_stages_that_a_run_does_not_reach_are_said():
    with pytest.raises(UserError, match="stage 2 begins at step 500 and the run ends at 500"):
        PRESETS["bridge:release"].check_reached(500)
    PRESETS["bridge:release"].check_reached(501)
    stages_for("sds").check_reached(1)


def test_the_methods_own_guidance():
    assert [guidance_of(name) for name in ("sds", "vsd", "pds", "bridge:paper-eval")] == [40, 7.5, 100, 40]
    assert (
        stages_for("vsd", ObjectiveConfig(guidance_scale=3.0))
        != stages_for("vsd")
        == stages_for("vsd", ObjectiveConfig(guidance_scale=7.5))
    )


def test_the_source_of_csd_moves_to_the_negative_prompt():
    stages = stages_for(
        "csd", ObjectiveConfig(guidance_scale=2.0, negative_share=0.5, negative_anneal_steps=100)
    )
    assert stages.at(0).objective.source == 2 * NULL
    assert stages.at(50).objective.source == 1.5 * NULL + 0.5 * NEGATIVE
    assert stages.at(10**6).objective.source == NULL + NEGATIVE
    assert Slot.NEGATIVE in stages.slots and Slot.NEGATIVE not in stages_for("csd").slots
