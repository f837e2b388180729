"""Terms that keep an object solid and alone. Letters as in `rendering`; a row of weights sums to the ray's
opacity."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def sparsity(opacity: Float[Tensor, "n"]) -> Float[Tensor, ""]:
    """Mean of sqrt(opacity^2 + 0.01): empty unless the prompt asks for something (threestudio's
    loss_sparsity)."""
    return (opacity.square() + 0.01).sqrt().mean()


def entropy(opacity: Float[Tensor, "n"]) -> Float[Tensor, ""]:
    """Mean binary entropy of the opacity, in nats: a ray hits or it does not; fog is neither (threestudio's
    loss_opaque)."""
    p = opacity.clamp(1e-3, 1 - 1e-3)
    return -(p * p.log() + (1 - p) * (1 - p).log()).mean()


def distortion(w: Float[Tensor, "n m"], distances: Float[Tensor, "n m"], delta: float) -> Float[Tensor, ""]:
    """Mean over rays of sum_ij w_i w_j |s_i - s_j| + sum_i w_i^2 delta / 3 (Mip-NeRF 360, Barron et al.
    2022, eq. 15).

    Small when a ray's weight sits in one place. Distances rise along a row, so running sums replace the
    double sum.
    """
    before = w.cumsum(-1) - w
    moment_before = (w * distances).cumsum(-1) - w * distances
    between = 2 * (w * (distances * before - moment_before)).sum(-1)
    return (between + w.square().sum(-1) * delta / 3).mean()
