"""The closed forms that the paper's table implies."""

from dataclasses import replace

import pytest
import torch

from bridge_nerf.distillation.epsilon import (
    NEGATIVE,
    NOISE,
    NULL,
    PREVIOUS,
    SOURCE,
    TARGET,
    Epsilon,
    Slot,
    guided,
)
from bridge_nerf.distillation.objectives import (
    Objective,
    bridge_second_stage,
    csd,
    full_bridge,
    nfsd,
    sdi,
    sds,
    vsd,
)
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.distillation.transport import Invert
from bridge_nerf.distillation.weighting import sigma_over_alpha, sigma_squared
from bridge_nerf.schedules import expand_like

from .worlds import MIXED_T, MIXTURE, draws, problem, single

X, NOISE_DRAW = draws("x", 6, 2), draws("noise", 6, 2)
SAMPLE = Sample(X, MIXED_T, NOISE_DRAW)
SCHEDULE = MIXTURE.schedule
CSD = csd(1.0)


def difference(objective: Objective) -> Epsilon:
    return objective.target - objective.source


def replaced(epsilon: Epsilon, old: Slot, new: Slot) -> Epsilon:
    return Epsilon(
        tuple(term._replace(slot=new if term.slot == old else term.slot) for term in epsilon.terms)
    )


def test_sds_is_csd_plus_the_mismatch_of_the_source():
    assert difference(sds(40.0)) - 40 * difference(CSD) == NULL - NOISE


def test_stage_two_is_csd_with_the_null_prompt_replaced():
    assert difference(bridge_second_stage(40.0)) == replaced(40 * difference(CSD), Slot.NULL, Slot.SOURCE)


def test_nfsd_is_csd_that_keeps_denoising():
    assert difference(nfsd(7.5)) - 7.5 * difference(CSD) == NULL - NEGATIVE.from_t(0.2)


def test_vsd_is_sds_with_the_noise_replaced():
    assert difference(vsd(7.5)) == replaced(difference(sds(7.5)), Slot.NOISE, Slot.ADAPTER)


def test_sdi_is_the_distance_to_the_denoised_image():
    """In every coordinate, whatever the inversion found: the target alone says where x goes."""
    p, objective = problem(TARGET="left", NULL=""), sdi(7.5, 4)
    x_t = SAMPLE.x_t(SCHEDULE)
    found = SCHEDULE.eps_from_x0(x_t, X, MIXED_T)
    torch.testing.assert_close(found, NOISE_DRAW)
    weighted = expand_like(objective.weighting(SCHEDULE, MIXED_T), X) * p.evaluate(
        difference(objective), x_t, MIXED_T, found
    )
    x0 = SCHEDULE.x0_from_eps(x_t, p.evaluate(guided(7.5), x_t, MIXED_T), MIXED_T)
    torch.testing.assert_close(weighted, X - x0)


def test_one_step_of_both_ways_is_one_step_of_inversion():
    """Of the full bridge, the methods that come down in one step are the case of one step, but for the noise
    that the schedule has at t = 0: x - landing = (alpha_0 sigma / alpha - sigma_0) (TARGET - PREVIOUS)."""
    p = problem(TARGET="left", SOURCE="right")
    inverted = Objective(TARGET, PREVIOUS, transport=Invert(SOURCE, 1)).gradient(p, SAMPLE).pull
    alpha, sigma = (expand_like(f(MIXED_T), X) for f in (SCHEDULE.alpha, SCHEDULE.sigma))
    alpha_0, sigma_0 = (f(torch.tensor([0])) for f in (SCHEDULE.alpha, SCHEDULE.sigma))
    moved = full_bridge(SOURCE, 1).gradient(p, SAMPLE).value
    torch.testing.assert_close(moved, (alpha_0 * sigma / alpha - sigma_0) * inverted)


def test_anchored_stage_two():
    anchored = difference(bridge_second_stage(40.0, anchor=3.0))
    assert anchored == 40 * (TARGET - SOURCE) + 3 * (SOURCE - NOISE)
    with_negative_prompt = replaced(difference(sds(40.0)), Slot.NULL, Slot.SOURCE)
    assert difference(bridge_second_stage(40.0, anchor=1.0)) == with_negative_prompt


def test_guided_stage_two():
    assert difference(bridge_second_stage(2.0, guidance_scale=7.5)) == 2 * (guided(7.5) - SOURCE)
    assert Slot.NULL not in difference(bridge_second_stage(2.0)).slots


def test_sds_on_one_gaussian():
    """E[sigma^2 (eps - noise)] = sigma^3 alpha (x - m) / (alpha^2 s^2 + sigma^2)."""
    p, mean, variance = problem(TARGET="left"), MIXTURE.means[0], 0.25
    # eps is affine in the noise here, so a draw and its mirror image average to the expectation exactly.
    both = [sds(1.0).gradient(p, replace(SAMPLE, noise=sign * NOISE_DRAW)).value for sign in (1, -1)]
    alpha, sigma = (expand_like(f(MIXED_T), X) for f in (SCHEDULE.alpha, SCHEDULE.sigma))
    expected = sigma**3 * alpha * (X - mean) / (alpha**2 * variance + sigma**2)
    torch.testing.assert_close((both[0] + both[1]) / 2, expected)


def test_noise_as_source_under_sigma_over_alpha_is_the_distance_to_the_denoised_image():
    p = problem(TARGET="left", NULL="")
    gradient = Objective(guided(7.5), NOISE, sigma_over_alpha).gradient(p, SAMPLE).value
    x_t = SAMPLE.x_t(SCHEDULE)
    x0 = SCHEDULE.x0_from_eps(x_t, p.evaluate(guided(7.5), x_t, MIXED_T), MIXED_T)
    torch.testing.assert_close(gradient, X - x0)


def test_stage_two_on_two_gaussians_does_not_depend_on_x():
    """Equal round Gaussians: the pull is s sigma alpha (m_source - m_target) / C, wherever x is."""
    p = problem(TARGET="left", SOURCE="right")
    gradient = bridge_second_stage(3.0).gradient(p, replace(SAMPLE, x=100 * X)).value
    alpha, sigma = (expand_like(f(MIXED_T), X) for f in (SCHEDULE.alpha, SCHEDULE.sigma))
    expected = 3 * sigma**3 * alpha / (alpha**2 * 0.25 + sigma**2) * (MIXTURE.means[1] - MIXTURE.means[0])
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("objective", [bridge_second_stage(40.0), Objective(guided(7.5), guided(7.5))])
def test_no_pull_when_target_equals_source(objective):
    p = problem(TARGET="left", SOURCE="left", NULL="")
    assert torch.equal(objective.gradient(p, SAMPLE).value, torch.zeros_like(X))


@pytest.mark.parametrize("weighting", [sigma_squared, sigma_over_alpha])
@pytest.mark.parametrize("objective", [sds(7.5), bridge_second_stage(40.0, anchor=1.0, guidance_scale=2.0)])
def test_a_batch_of_mixed_t_equals_single_calls(objective, weighting):
    objective = Objective(objective.target, objective.source, weighting)
    p = problem(TARGET="left", SOURCE="right", NULL="")
    together = objective.gradient(p, SAMPLE).value
    torch.testing.assert_close(
        together, torch.cat([objective.gradient(p, row).value for row in single(SAMPLE)])
    )


def test_weightings():
    abar = SCHEDULE.alphas_cumprod[MIXED_T]
    torch.testing.assert_close(sigma_squared(SCHEDULE, MIXED_T), 1 - abar)
    torch.testing.assert_close(sigma_over_alpha(SCHEDULE, MIXED_T), ((1 - abar) / abar).sqrt())
