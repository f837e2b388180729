"""The paper's two errors, where they are known."""

import pytest
import torch

from bridge_nerf.distillation.diagnostics import first_order_error, measure, source_mismatch
from bridge_nerf.distillation.epsilon import ADAPTER, NULL, SOURCE, TARGET, Slot
from bridge_nerf.distillation.problem import Problem
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.priors.gaussian_mixture import GaussianMixture
from bridge_nerf.schedules import expand_like

from .worlds import MIXED_T, MIXTURE, Counting, draws, problem

X, NOISE = draws("x", 6, 2), draws("noise", 6, 2)
SAMPLE = Sample(X, MIXED_T, NOISE)
LEFT, RIGHT, _ = MIXTURE.means
VARIANCE = 0.25


def parts(t=MIXED_T):
    """alpha, sigma, C of the mixture's components."""
    alpha, sigma = (expand_like(f(t), X) for f in (MIXTURE.schedule.alpha, MIXTURE.schedule.sigma))
    return alpha, sigma, alpha**2 * VARIANCE + sigma**2


def test_first_order_error_between_equal_gaussians():
    """Both landings move x by a share of m_target - m_source: sigma^2 / C in one step, and
    alpha_0 - alpha sqrt(C_0 / C) by the two ODEs."""
    p = problem(TARGET="left", SOURCE="right")
    alpha, sigma, c = parts()
    alpha_0, _, c_0 = parts(torch.zeros_like(MIXED_T))
    shares = sigma**2 / c - (alpha_0 - alpha * (c_0 / c).sqrt())
    expected = (shares * (LEFT - RIGHT)).square().mean(1).sqrt()
    error = first_order_error(p, TARGET, SOURCE, SAMPLE, steps=500)
    torch.testing.assert_close(error, expected, atol=0.02, rtol=0.02)
    assert expected[:5].max() > 0.5, "the case has something to find"


def test_no_first_order_error_where_target_equals_source():
    p = problem(TARGET="left", SOURCE="left")
    error = first_order_error(p, TARGET, SOURCE, SAMPLE, steps=500)
    assert error.max() < 0.05


def test_source_mismatch_is_known_for_every_image():
    """sigma / C (x_t - alpha m) - noise = (sigma alpha (x - m) - alpha^2 s^2 noise) / C."""
    alpha, sigma, c = parts()
    expected = ((sigma * alpha * (X - RIGHT) - alpha**2 * VARIANCE * NOISE) / c).square().mean(1)
    mismatch = source_mismatch(problem(SOURCE="right"), SOURCE, SAMPLE)
    torch.testing.assert_close(mismatch, expected)


def test_the_estimate_that_knows_the_images_has_the_least():
    x = MIXTURE.sample(MIXTURE.embed(["right"]).expand(40_000), torch.Generator().manual_seed(0))
    t = torch.arange(40_000) % 1000
    sample = Sample(x, t, draws("many", 40_000, 2))
    p = problem(SOURCE="right", NULL="", TARGET="left")
    by_source, by_null, by_target = (source_mismatch(p, e, sample).mean() for e in (SOURCE, NULL, TARGET))
    assert by_source < by_null < by_target
    alpha2 = MIXTURE.schedule.alphas_cumprod[t]
    bayes = (alpha2 * VARIANCE / (alpha2 * VARIANCE + 1 - alpha2)).mean()
    assert by_source.item() == pytest.approx(bayes.item(), rel=0.03)


def test_measure_tells_both_for_every_source():
    prior, adapter = Counting(), Counting(GaussianMixture.isotropic({"now": (1.0, 1.0)}, std=0.8))
    conditions = {
        Slot(slot): prior.embed([text])
        for slot, text in {"TARGET": "left", "SOURCE": "right", "NULL": ""}.items()
    }
    conditions[Slot.ADAPTER] = adapter.embed(["now"])
    p = Problem(prior, conditions, adapter)
    errors = measure(p, SAMPLE, steps=4)
    for name, epsilon in {"null": NULL, "source": SOURCE, "adapter": ADAPTER}.items():
        mismatch = source_mismatch(p, epsilon, SAMPLE).mean()
        distance = first_order_error(p, TARGET, epsilon, SAMPLE, 4).mean()
        torch.testing.assert_close(errors[f"mismatch_{name}"], mismatch)
        torch.testing.assert_close(errors[f"first_order_{name}"], distance)
    assert measure(problem(TARGET="left", NULL=""), SAMPLE, 2).keys() == {
        "mismatch_null",
        "first_order_null",
    }
