"""Transports against maps that are known."""

import math
from itertools import pairwise

import pytest
import torch

from bridge_nerf.distillation.epsilon import SOURCE, TARGET, guided
from bridge_nerf.distillation.objectives import Objective, full_bridge, rescaled, sds
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.errors import UserError
from bridge_nerf.priors.gaussian_mixture import GaussianMixture
from bridge_nerf.schedules import expand_like

from .worlds import MIXED_T, Counting, draws, problem

STD = {"wide": 1.5, "narrow": 0.4}
MEAN = {"wide": (1.0, -1.0), "narrow": (-2.0, 0.5)}
WORLD = GaussianMixture(
    tuple(STD),
    torch.tensor(list(MEAN.values()), dtype=torch.float64),
    torch.stack([std**2 * torch.eye(2, dtype=torch.float64) for std in STD.values()]),
    torch.ones(2, dtype=torch.float64),
)


def exact_landing(x, t):
    """(x_t - alpha m) / sqrt(alpha^2 s^2 + sigma^2) does not change along a Gaussian's probability flow."""

    def frame(name, t):
        alpha, sigma = (expand_like(f(t), x) for f in (WORLD.schedule.alpha, WORLD.schedule.sigma))
        return alpha * torch.tensor(MEAN[name]), (alpha**2 * STD[name] ** 2 + sigma**2).sqrt()

    for name, start, end in (("wide", torch.zeros_like(t), t), ("narrow", t, torch.zeros_like(t))):
        (mean, std), (next_mean, next_std) = frame(name, start), frame(name, end)
        x = next_mean + next_std * (x - mean) / std
    return x


def test_the_full_bridge_converges_to_the_known_map_at_first_order():
    x, t = draws("x", 4, 2), torch.tensor([972, 729, 486, 972])
    p = problem(WORLD, TARGET="narrow", SOURCE="wide")
    errors = []
    for steps in (27, 81, 243):
        gradient = full_bridge(SOURCE, steps).gradient(p, Sample(x, t, torch.zeros_like(x))).value
        errors.append((gradient - (x - exact_landing(x, t))).norm().item())
    orders = [math.log(coarse / fine, 3) for coarse, fine in pairwise(errors)]
    assert 0.8 < orders[0] < orders[1] < 1.05
    assert errors[-1] < 0.05, (errors, orders)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_rescaled_guidance_has_the_spread_of_no_guidance(share):
    prior = Counting()
    p = problem(prior, TARGET="left", NULL="")
    sample = Sample(draws("x", 6, 2), MIXED_T, draws("noise", 6, 2))
    pull = rescaled(sds(7.5), share).gradient(p, sample).pull
    assert prior.rows == [12]
    x_t = sample.x_t(p.schedule)
    x0, wide, plain = (
        p.schedule.x0_from_eps(x_t, eps, MIXED_T).std(dim=1)
        for eps in (
            pull + sample.noise,
            p.evaluate(guided(7.5), x_t, MIXED_T),
            p.evaluate(TARGET, x_t, MIXED_T),
        )
    )
    torch.testing.assert_close(x0, share * plain + (1 - share) * wide)


@pytest.mark.parametrize("objective", [full_bridge(TARGET, 3), Objective(2 * TARGET, TARGET)])
def test_only_an_estimate_can_be_rescaled(objective):
    with pytest.raises(UserError, match="guidance_rescale 0.5"):
        rescaled(objective, 0.5)
