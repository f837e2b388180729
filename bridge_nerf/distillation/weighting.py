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


def chi(schedule: NoiseSchedule, t: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
    """Weight of a difference of eps in posterior distillation sampling (Koo et al. 2024).

    As its code has it, which steps from t to t - 2 with the beta of a single step. Below t = 2 as at 2.
    """
    now, far, beta, share = _two_steps_at_once(schedule, t)
    deviation = (beta * (1 - far) / (1 - now)).sqrt()
    return share * ((1 - now) / now).sqrt() / deviation


def psi_over_chi(schedule: NoiseSchedule, t: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
    """Weight of x minus the reference there, relative to that of the difference of eps.

    Were the steps and their beta consistent, it would be zero: x_t and x0 alone make the posterior mean.
    """
    now, far, beta, share = _two_steps_at_once(schedule, t)
    rest = (1 - beta).sqrt() * (1 - far) / (1 - now)
    return (far.sqrt() - share - rest * now.sqrt()) / share * (now / (1 - now)).sqrt()


def _two_steps_at_once(schedule: NoiseSchedule, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(abar_t, abar_{t-2}, beta_t, share of x0 in the posterior mean of x_{t-2}), in float64: psi is a small
    difference of large numbers."""
    t = t.clamp(min=2)
    now, far = (schedule.alphas_cumprod.to(t.device)[t - n].double() for n in (0, 2))
    beta = schedule.beta(t).double()
    return now, far, beta, far.sqrt() * beta / (1 - now)


WEIGHTINGS: Mapping[str, Weighting] = {
    "sigma^2": sigma_squared,
    "sigma/alpha": sigma_over_alpha,
    "sigma^3/alpha": sigma_cubed_over_alpha,
    "uniform": uniform,
}
"""Weightings by name."""
