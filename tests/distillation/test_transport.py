"""The seam carries more than Jump: a full bridge (two probability-flow ODEs) is a transport like others."""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch

from bridge_nerf.distillation.epsilon import SOURCE, TARGET, Epsilon
from bridge_nerf.distillation.objectives import Objective
from bridge_nerf.distillation.problem import Problem
from bridge_nerf.distillation.weighting import sigma_over_alpha
from bridge_nerf.priors.gaussian_mixture import GaussianMixture
from bridge_nerf.schedules import per_sample

from .worlds import draws, problem

STD = {"wide": 1.5, "narrow": 0.4}
MEAN = {"wide": (1.0, -1.0), "narrow": (-2.0, 0.5)}
WORLD = GaussianMixture(
    tuple(STD),
    torch.tensor(list(MEAN.values()), dtype=torch.float64),
    torch.stack([std**2 * torch.eye(2, dtype=torch.float64) for std in STD.values()]),
    torch.ones(2, dtype=torch.float64),
)


@dataclass(frozen=True)
class FullBridge:
    """Up under the source and down under the target, Euler steps (DDIM) between t = 0 and t."""

    steps: int

    def __call__(self, problem, target, source, x, t, noise):
        grid = torch.linspace(0, 1, self.steps + 1, dtype=torch.float64)[:, None] * t
        levels = grid.round().long()
        x_t = self.walk(problem, source, x, levels)
        landing = self.walk(problem, target, x_t, levels.flip(0))
        schedule = problem.schedule
        return per_sample(schedule.alpha(t) / schedule.sigma(t), x) * (x - landing)

    def walk(self, problem: Problem, epsilon: Epsilon, x, levels):
        for t, following in pairwise(levels):
            eps = problem.evaluate(epsilon, x, t)
            x = problem.schedule.add_noise(problem.schedule.x0_from_eps(x, eps, t), eps, following)
        return x


def exact_landing(x, t):
    """(x_t - alpha m) / sqrt(alpha^2 s^2 + sigma^2) does not change along a Gaussian's probability flow."""

    def frame(name, t):
        alpha, sigma = (per_sample(f(t), x) for f in (WORLD.schedule.alpha, WORLD.schedule.sigma))
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
        bridge = Objective(TARGET, SOURCE, sigma_over_alpha, FullBridge(steps))
        gradient = bridge.gradient(p, x, t, torch.zeros_like(x))
        errors.append((gradient - (x - exact_landing(x, t))).norm().item())
    orders = [math.log(coarse / fine, 3) for coarse, fine in pairwise(errors)]
    assert 0.8 < orders[0] < orders[1] < 1.05
    assert errors[-1] < 0.05, (errors, orders)
