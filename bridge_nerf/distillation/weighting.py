"""w(t), how much noise level t counts: plain functions of the noise schedule and t, one number a sample."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge_nerf.schedules import NoiseSchedule

Weighting = Callable[[NoiseSchedule, Tensor], Tensor]


def sigma_squared(schedule: NoiseSchedule, t: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
    """1 - abar_t: DreamFusion's choice and the paper's."""
    return schedule.sigma(t) ** 2


def sigma_over_alpha(schedule: NoiseSchedule, t: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
    """Turns a difference of eps into one of images: with source NOISE the gradient is x - x0_target."""
    return schedule.sigma(t) / schedule.alpha(t)


def sigma_cubed_over_alpha(schedule: NoiseSchedule, t: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
    """sigma^2 on the difference of images: (1 - abar_t) (x - landing)."""
    return schedule.sigma(t) ** 3 / schedule.alpha(t)


def uniform(schedule: NoiseSchedule, t: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
    """1."""
    return torch.ones_like(schedule.sigma(t))


WEIGHTINGS: Mapping[str, Weighting] = {
    "sigma^2": sigma_squared,
    "sigma/alpha": sigma_over_alpha,
    "sigma^3/alpha": sigma_cubed_over_alpha,
    "uniform": uniform,
}
"""By name."""
