"""The pull problem in numbers: where stage two takes images on a prior whose optimum is known.

Run `python -m tests.distillation.pull` for the table of docs/objectives.md.
"""

from collections.abc import Callable, Sequence

import torch

from bridge_nerf.annealing import TimestepRange
from bridge_nerf.distillation.config import ObjectiveConfig
from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.distillation.loss import distillation_loss
from bridge_nerf.distillation.problem import Problem
from bridge_nerf.distillation.registry import Stages, stages_for
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.priors.gaussian_mixture import GaussianMixture
from bridge_nerf.schedules import sample_times
from bridge_nerf.seeding import generator

from .worlds import MIXTURE, problem

LEFT, RIGHT, _ = MIXTURE.means
AFTER = (100, 300, 1000)


def distances(
    stages: Stages, lr: float = 0.05, follow: bool = False, after: Sequence[int] = AFTER
) -> list[float]:
    """How far the mean of 16 images is from the target `after` so many steps of Adam; it starts 4 away.

    Args:
        follow: ADAPTER knows the Gaussian around the current mean, as one that has learned it would.
    """
    p, times, found = problem(TARGET="left", SOURCE="right", NULL=""), TimestepRange(), []
    x = RIGHT.expand(16, 2).clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr, betas=(0.9, 0.99))
    for step in range(max(after)):
        t = sample_times(times, step, 16, 1000, generator(0, "t", step))
        noise = torch.randn(16, 2, generator=generator(0, "noise", step), dtype=x.dtype)
        objective, weight, *_ = stages.at(step)
        here = _following(p, x.detach()) if follow else p
        optimizer.zero_grad()
        distillation_loss(objective, here, Sample(x, t, noise), weight).loss.backward()
        optimizer.step()
        if step + 1 in after:
            found.append((x.detach().mean(0) - LEFT).norm().item())
    return found


def _following(p: Problem, x: torch.Tensor) -> Problem:
    now = GaussianMixture.isotropic({"now": x.mean(0)}, std=0.5)
    return Problem(p.prior, {**p.conditions, Slot.ADAPTER: now.embed(["now"])}, now)


def stage_two(**numbers: float) -> Stages:
    """The paper's stage two alone."""
    return stages_for("bridge", ObjectiveConfig(stage_start=0, **numbers))


CASES: dict[str, Callable[[], list[float]]] = {
    "the paper's stage two: s = 40, a = 0": lambda: distances(stage_two()),
    "s = 1, a = 0": lambda: distances(stage_two(stage_two_scale=1.0)),
    "s = 1, a = 0, a tenth of the learning rate": lambda: distances(stage_two(stage_two_scale=1.0), 0.005),
    "s = 40, a = 0, weight annealed to 0 over 100 steps": lambda: distances(
        stage_two(stage_two_final_weight=0.0, stage_two_anneal_steps=100)
    ),
    "s = 40, a = 1": lambda: distances(stage_two(stage_two_anchor=1.0)),
    "s = 40, a = 40": lambda: distances(stage_two(stage_two_anchor=40.0)),
    "s = 1.25, a = 1": lambda: distances(stage_two(stage_two_scale=1.25, stage_two_anchor=1.0)),
    "bridge-ode, 5 steps a way": lambda: distances(stages_for("bridge-ode", ObjectiveConfig(ode_steps=5))),
    "bridge-ode, 20 steps a way": lambda: distances(stages_for("bridge-ode", ObjectiveConfig(ode_steps=20))),
    "vsd, guidance 1, a source that follows": lambda: distances(
        stages_for("vsd", ObjectiveConfig(guidance_scale=1.0)), follow=True
    ),
}

if __name__ == "__main__":
    print("| | " + " | ".join(f"{steps} steps" for steps in AFTER) + " |")
    print("|---" * (1 + len(AFTER)) + "|")
    for name, run in CASES.items():
        print(f"| {name} | " + " | ".join(f"{distance:.2f}" for distance in run()) + " |", flush=True)
