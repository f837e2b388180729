"""Statistics against scipy and closed forms."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

from bridge_nerf.errors import UserError
from bridge_nerf.evaluation.figures import Figure
from bridge_nerf.evaluation.statistics import bootstrap_interval, frechet_distance, share, wilson_interval


def test_frechet_distance_agrees_with_scipy():
    r = np.random.default_rng(0)
    a, b = r.normal(size=(300, 6)), r.normal(size=(200, 6)) @ r.normal(size=(6, 6)) + 0.5
    ca, cb = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(ca @ cb).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * root)
    assert frechet_distance(torch.tensor(a), torch.tensor(b)) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_of_a_set_to_itself_is_zero_also_when_rank_deficient():
    x = torch.randn(5, 20, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-4)


def test_frechet_distance_refuses_single_images():
    with pytest.raises(UserError, match="at least 2"):
        frechet_distance(torch.zeros(1, 3), torch.zeros(4, 3))


def test_share():
    assert share([True, False, True, True]) == 0.75
    assert math.isnan(share([]))


@pytest.mark.parametrize(("hits", "count"), [(0, 1), (1, 1), (0, 39), (36, 39), (39, 39), (7, 1000)])
def test_wilson_interval_agrees_with_scipy(hits, count):
    expected = scipy.stats.binomtest(hits, count).proportion_ci(method="wilson")
    assert wilson_interval(hits, count) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("hits", "count"), [(0, 0), (-1, 3), (4, 3)])
def test_wilson_interval_refuses_impossible_counts(hits, count):
    with pytest.raises(UserError, match=f"{hits} hits in {count} trials"):
        wilson_interval(hits, count)


def test_bootstrap_interval_agrees_with_scipy_and_repeats():
    values = np.random.default_rng(3).exponential(size=39).tolist()
    expected = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(4)
    ).confidence_interval
    low, high = interval = bootstrap_interval(values)
    # as far apart as two draws of so many resamples are
    assert interval == pytest.approx((expected.low, expected.high), abs=0.02 * (high - low))
    assert low < np.mean(values) < high and bootstrap_interval(values) == interval
    assert bootstrap_interval([0.5, 0.5]) == (0.5, 0.5)
    assert bootstrap_interval([0.5]) is None is bootstrap_interval([])


def test_a_figure_says_its_interval_where_it_has_one():
    assert Figure("a", 0.5, "-", 4).line().endswith("N = 4")
    assert Figure("a", 0.5, "-", 4, "of 8", (0.25, 0.75)).line().endswith("95 % from 0.250 to 0.750; of 8")
    assert Figure("a", 0.5, "-", 4, interval=(0.25, 0.75)).line().endswith("95 % from 0.250 to 0.750")
