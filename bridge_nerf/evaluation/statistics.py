"""Statistics of images and features, as pure functions."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.errors import UserError


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
