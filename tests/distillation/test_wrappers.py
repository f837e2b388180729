"""What wraps a gradient, a transport or a problem."""

import pytest
import torch

from bridge_nerf.distillation.epsilon import TARGET, guided
from bridge_nerf.distillation.objectives import Objective, full_bridge, sds
from bridge_nerf.distillation.registry import stages_for
from bridge_nerf.distillation.wrappers import (
    Clip,
    PerpNeg,
    Shaped,
    perpendicular,
    rescaled,
    shaped,
    unit_norm,
)
from bridge_nerf.errors import UserError

from .worlds import MIXED_T, MIXTURE, Counting, draws, problem

X, NOISE = draws("x", 6, 2), draws("noise", 6, 2)
SCHEDULE = MIXTURE.schedule


def test_clipping_bounds_every_entry_and_leaves_small_ones():
    p, plain = problem(TARGET="left", NULL=""), sds(7.5)
    gradient = plain.gradient(p, X, MIXED_T, NOISE)
    limit = gradient.abs().median().item()
    clipped = shaped(plain, Clip(limit)).gradient(p, X, MIXED_T, NOISE)
    assert clipped.abs().max() == limit
    small = gradient.abs() <= limit
    assert torch.equal(clipped[small], gradient[small])


def test_unit_norm_keeps_each_samples_direction():
    p, plain = problem(TARGET="left", NULL=""), sds(7.5)
    gradient, unit = (o.gradient(p, X, MIXED_T, NOISE) for o in (plain, shaped(plain, unit_norm)))
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(6, dtype=torch.float64))
    torch.testing.assert_close(unit * gradient.norm(dim=1, keepdim=True), gradient)


def test_options_wrap_every_stage():
    stages = stages_for("bridge", unit_norm=True, gradient_clip=0.5)
    for stage in stages.stages:
        assert isinstance(stage.objective, Shaped) and stage.objective.shapes == (unit_norm, Clip(0.5))
    assert stages.slots == stages_for("bridge").slots
    assert shaped(sds(1.0)) == sds(1.0)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_rescaled_guidance_has_the_spread_of_no_guidance(share):
    prior = Counting()
    p = problem(prior, TARGET="left", NULL="")
    pull = rescaled(sds(7.5), share).pull(p, X, MIXED_T, NOISE)
    assert prior.rows == [12]
    x_t = SCHEDULE.add_noise(X, NOISE, MIXED_T)
    x0, wide, plain = (
        SCHEDULE.x0_from_eps(x_t, eps, MIXED_T).std(dim=1)
        for eps in (
            pull + NOISE,
            p.evaluate(guided(7.5), x_t, MIXED_T),
            p.evaluate(TARGET, x_t, MIXED_T),
        )
    )
    torch.testing.assert_close(x0, share * plain + (1 - share) * wide)


@pytest.mark.parametrize("objective", [full_bridge(TARGET, 3), Objective(2 * TARGET, TARGET)])
def test_only_an_estimate_can_be_rescaled(objective):
    with pytest.raises(UserError, match="guidance_rescale 0.5"):
        rescaled(objective, 0.5)


def test_perpendicular():
    a, b = draws("a", 6, 2, 3), draws("b", 6, 2, 3)
    rest = perpendicular(a, b)
    torch.testing.assert_close((rest * b).sum((1, 2)), torch.zeros(6, dtype=torch.float64))
    assert torch.linalg.matrix_rank(torch.stack([a - rest, b]).flatten(2)[:, 0]) == 1, "it lost b alone"
    torch.testing.assert_close(perpendicular(a, torch.zeros_like(a)), a)


@pytest.mark.parametrize("strength", [0.0, 1.5])
def test_perp_neg_sample_by_sample(strength):
    prior = Counting()
    plain = problem(prior, TARGET="left", NULL="", NEGATIVE="high")
    wrapped = PerpNeg(prior, plain.conditions, strength=strength)
    gradient = sds(7.5).gradient(wrapped, X, MIXED_T, NOISE)
    assert prior.rows == [18]
    for i in range(6):
        row, t = slice(i, i + 1), MIXED_T[i : i + 1]
        x_t = SCHEDULE.add_noise(X[row], NOISE[row], t)
        target, null, negative = (MIXTURE.eps(x_t, t, MIXTURE.embed([text])) for text in ("left", "", "high"))
        towards, away = target - null, negative - null
        rest = away - (away @ towards.T) / (towards @ towards.T) * towards
        guidance = null + 7.5 * (towards - strength * rest)
        expected = SCHEDULE.sigma(t) ** 2 * (guidance - NOISE[row])
        torch.testing.assert_close(gradient[row], expected)


def test_perp_neg_leaves_other_slots_alone():
    plain = problem(TARGET="left", NULL="", NEGATIVE="high", SOURCE="right")
    wrapped = PerpNeg(plain.prior, plain.conditions, strength=2.0)
    for epsilon in (guided(0.0), guided(1.0) - guided(1.0)):
        values = (p.evaluate(epsilon, X, MIXED_T) for p in (plain, wrapped))
        torch.testing.assert_close(*values)
