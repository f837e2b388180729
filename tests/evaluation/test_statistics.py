"""Statistics against scipy and closed forms."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from bridge_nerf.errors import UserError
from bridge_nerf.evaluation.statistics import frechet_distance, share


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
