"""Terms that keep an object solid and alone. Letters as in `rendering`; a row of weights sums to the ray's
opacity. Means are over the rays that meet the ball: `hit`."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor


def sparsity(opacity: Float[Tensor, "n"], hit: Bool[Tensor, "n"]) -> Float[Tensor, ""]:
    """Mean of sqrt(opacity^2 + 0.01): empty unless the prompt asks for something (threestudio's
    loss_sparsity)."""
    return _mean((opacity.square() + 0.01).sqrt(), hit)


def entropy(opacity: Float[Tensor, "n"], hit: Bool[Tensor, "n"]) -> Float[Tensor, ""]:
    """Mean binary entropy of the opacity, in nats: a ray hits or it does not; fog is neither (threestudio's
    loss_opaque)."""
    p = opacity.clamp(1e-3, 1 - 1e-3)
    return _mean(-(p * p.log() + (1 - p) * (1 - p).log()), hit)


def distortion(
    w: Float[Tensor, "n m"], distances: Float[Tensor, "n m"], delta: float, hit: Bool[Tensor, "n"]
) -> Float[Tensor, ""]:
    """Mean over rays of sum_ij w_i w_j |s_i - s_j| + sum_i w_i^2 delta / 3 (Mip-NeRF 360, Barron et al.
    2022, eq. 15).

    Small when a ray's weight sits in one place. Distances rise along a row, but for places of no weight, so
    running sums replace the double sum.
    """
    before = w.cumsum(-1) - w
    moment_before = (w * distances).cumsum(-1) - w * distances
    between = 2 * (w * (distances * before - moment_before)).sum(-1)
    return _mean(between + w.square().sum(-1) * delta / 3, hit)


def _mean(values: Float[Tensor, "n"], hit: Bool[Tensor, "n"]) -> Float[Tensor, ""]:
    return (values * hit).sum() / hit.sum().clamp_min(1)
