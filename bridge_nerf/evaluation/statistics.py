"""Statistics of images and features, as pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.errors import UserError

Interval = tuple[float, float]
"""The lower and the upper end."""
LEVEL = 0.95
"""Probability with which an interval is to hold the true value."""


def frechet_distance(one: Float[Tensor, "n d"], other: Float[Tensor, "m d"]) -> float:
    """Squared Frechet distance of the Gaussians fitted to two sets of features (Heusel et al. 2017, eq. 6).

    |mu_1 - mu_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2)), in float64; the root's trace is taken from the
    eigenvalues of C_1^(1/2) C_2 C_1^(1/2), which is symmetric. UserError with fewer than two rows.
    """
    if min(len(one), len(other)) < 2:
        raise UserError(f"a Frechet distance needs at least 2 images a side, got {len(one)} and {len(other)}")
    one, other = one.double(), other.double()
    covariance_1, covariance_2 = (
        torch.cov(one.T).reshape(one.shape[1], -1),
        torch.cov(other.T).reshape(one.shape[1], -1),
    )
    values, vectors = torch.linalg.eigh(covariance_1)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ covariance_2 @ root).clamp_min(0).sqrt().sum()
    shift = (one.mean(0) - other.mean(0)).square().sum()
    return float(shift + covariance_1.trace() + covariance_2.trace() - 2 * cross)


def share(hits: list[bool]) -> float:
    """The share of True, in [0, 1]; nan for an empty list."""
    return sum(hits) / len(hits) if hits else float("nan")


def wilson_interval(hits: int, count: int) -> Interval:
    """The score interval of Wilson (1927) for a probability, from `hits` in `count` independent trials.

    Unlike the mean plus or minus its standard error, it stays in [0, 1] and keeps a width at 0 and at `count`
    hits. UserError unless 0 <= hits <= count and count >= 1.
    """
    if not 0 <= hits <= count or count < 1:
        raise UserError(f"{hits} hits in {count} trials: give at least 1 trial, and from 0 to as many hits")
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    share, weight = hits / count, z**2 / count
    middle = (share + weight / 2) / (1 + weight)
    half = (share * (1 - share) * weight + weight**2 / 4) ** 0.5 / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap_interval(values: Sequence[float], resamples: int = 10_000) -> Interval | None:
    """The percentile interval of the bootstrap (Efron 1979) for the mean of independent values.

    The resamples are drawn by a generator of a fixed seed: equal values have equal intervals. None for fewer
    than two values, which say nothing about their spread.
    """
    if len(values) < 2:
        return None
    drawn = torch.Generator().manual_seed(0)
    rows = torch.randint(len(values), (resamples, len(values)), generator=drawn)
    means = torch.tensor(values, dtype=torch.float64)[rows].mean(1)
    ends = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    low, high = means.quantile(ends).tolist()
    return low, high
