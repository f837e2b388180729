"""The best predictor of a Gaussian N(m, s^2) attains a known minimum at every t:

eps error: alpha^2 s^2 / C;  v error: s^2 / C;  x0 error: sigma^2 s^2 / C;  C = alpha^2 s^2 + sigma^2.
"""

import pytest
import torch

from bridge_nerf.distillation.denoising import denoising_loss
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.priors.gaussian_mixture import GaussianMixture
from bridge_nerf.seeding import generator

STD, N = 0.7, 100_000
PRIOR = GaussianMixture.isotropic({"only": (1.0, -2.0)}, std=STD)
CONDITION = PRIOR.embed([""]).expand(N)
X = PRIOR.sample(CONDITION, generator(0, "x"))
NOISE = torch.randn(N, 2, generator=generator(0, "noise"), dtype=torch.float64)
SCHEDULE = PRIOR.schedule


def best_eps(x_t, t):
    return PRIOR.eps(x_t, t, CONDITION)


def best_v(x_t, t):
    return SCHEDULE.v_from_eps(x_t, best_eps(x_t, t), t)


PREDICT = {"epsilon": best_eps, "v_prediction": best_v}


def parts(t: torch.Tensor):
    alpha2 = SCHEDULE.alphas_cumprod[t]
    return alpha2, 1 - alpha2, alpha2 * STD**2 + 1 - alpha2


@pytest.mark.parametrize("t", [50, 400, 900])
@pytest.mark.parametrize("prediction_type", PREDICT)
def test_the_best_predictor_attains_the_minimum(prediction_type, t):
    times = torch.full((N,), t)
    loss = denoising_loss(PREDICT[prediction_type], SCHEDULE, Sample(X, times, NOISE), prediction_type)
    alpha2, _, total = parts(torch.tensor(t))
    share = alpha2 if prediction_type == "epsilon" else torch.tensor(1.0)
    assert loss.item() == pytest.approx((share * STD**2 / total).item(), rel=0.02)


@pytest.mark.parametrize("bounds", [(0.0, 5.0), (0.5, 5.0)])
@pytest.mark.parametrize("prediction_type", PREDICT)
def test_bounded_weights_count_errors_of_the_image_whatever_is_predicted(prediction_type, bounds):
    """snr |x0 error|^2, with snr held within the bounds and t mixed within the batch."""
    t = torch.arange(N) % 1000
    loss = denoising_loss(PREDICT[prediction_type], SCHEDULE, Sample(X, t, NOISE), prediction_type, bounds)
    alpha2, sigma2, total = parts(t)
    expected = ((alpha2 / sigma2).clamp(*bounds) * sigma2 * STD**2 / total).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=0.02)


def test_any_other_prediction_is_worse():
    t = torch.full((N,), 400)
    best = denoising_loss(best_eps, SCHEDULE, Sample(X, t, NOISE))
    for worse in (lambda x, t: 1.05 * best_eps(x, t), lambda x, t: best_eps(x, t) + 0.05):
        assert denoising_loss(worse, SCHEDULE, Sample(X, t, NOISE)) > best


def test_gradients_reach_the_network():
    weight = torch.nn.Parameter(torch.tensor(0.5, dtype=torch.float64))
    denoising_loss(
        lambda x_t, t: weight * x_t, SCHEDULE, Sample(X[:8], torch.arange(8), NOISE[:8])
    ).backward()
    assert weight.grad is not None and weight.grad != 0
