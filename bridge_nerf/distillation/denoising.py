"""Training a diffusion model: the loss of an adapter and of a prior alike."""

from collections.abc import Callable
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from bridge_nerf.distillation.sample import Sample
from bridge_nerf.schedules import NoiseSchedule, expand_like

PredictionType = Literal["epsilon", "v_prediction"]


def denoising_loss(
    predict: Callable[[Tensor, Tensor], Tensor],
    schedule: NoiseSchedule,
    sample: Sample,
    prediction_type: PredictionType = "epsilon",
    snr_bounds: tuple[float, float] | None = None,
) -> Float[Tensor, ""]:
    """Mean squared error of a network's prediction (Ho et al. 2020, eq. 14; Salimans & Ho 2022 for v).

    Args:
        predict: (x_t, t) -> eps or v, as `prediction_type` (Diffusers' word) says; it knows its condition.
        snr_bounds: Errors of x0 count by the signal-to-noise ratio, held between these two: from below as in
            truncated SNR (Salimans & Ho 2022, section 4), from above as in min-SNR (Hang et al. 2023). None
            weighs errors of the prediction alike at all t.
    """
    x_t, t, noise = sample.x_t(schedule), sample.t, sample.noise
    truth = noise if prediction_type == "epsilon" else schedule.v_from_eps(x_t, noise, t)
    error = (predict(x_t, t) - truth).square()
    if snr_bounds is None:
        return error.mean()
    snr = (schedule.alpha(t) / schedule.sigma(t)) ** 2
    # |x0 error|^2 = |eps error|^2 / snr = |v error|^2 / (snr + 1)
    weight = snr.clamp(*snr_bounds) / (snr if prediction_type == "epsilon" else snr + 1)
    return (expand_like(weight, error) * error).mean()
