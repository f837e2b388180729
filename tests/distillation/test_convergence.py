"""Where descent ends, on priors whose optima are known."""

import pytest
import torch

from bridge_nerf.annealing import TimestepRange
from bridge_nerf.distillation.config import ObjectiveConfig
from bridge_nerf.distillation.loss import distillation_loss
from bridge_nerf.distillation.registry import Stages, stages_for
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.schedules import sample_times
from bridge_nerf.seeding import generator

from .worlds import MIXTURE, problem

LEFT, RIGHT, HIGH = MIXTURE.means


def descend(stages: Stages, x: torch.Tensor, steps: int, **prompts: str) -> torch.Tensor:
    """Plain gradient descent of 16 equal starts; the mean of where they end."""
    p, times = problem(**prompts), TimestepRange()
    x = x.expand(16, -1).clone().requires_grad_()
    for step in range(steps):
        t = sample_times(times, step, 16, 1000, generator(0, "t", step))
        noise = torch.randn(x.shape, generator=generator(0, "noise", step), dtype=x.dtype)
        objective, weight, *_ = stages.at(step)
        (gradient,) = torch.autograd.grad(
            distillation_loss(objective, p, Sample(x, t, noise), weight).loss, x
        )
        x = (x - 0.1 * gradient).detach().requires_grad_()
    return x.detach().mean(0)


def stage_two(**options: float) -> Stages:
    """Stage two from the first step, where the source prompt is true."""
    return stages_for("bridge", ObjectiveConfig(stage_start=0, **options))


def test_sds_ends_at_the_target():
    end = descend(stages_for("sds", ObjectiveConfig(guidance_scale=1.0)), HIGH, 400, TARGET="left", NULL="")
    assert (end - LEFT).norm() < 0.1


def test_guidance_overshoots_the_target():
    """What the paper calls the saturated look of SDS: guidance pushes away from everything else."""
    end = descend(stages_for("sds", ObjectiveConfig(guidance_scale=7.5)), HIGH, 300, TARGET="left", NULL="")
    assert end[0] < LEFT[0] - 2 and end[1] < LEFT[1] - 1


def test_stage_two_runs_away_under_a_fixed_weight():
    stages = stage_two(stage_two_scale=10)
    ends = [descend(stages, RIGHT, steps, TARGET="left", SOURCE="right")[0].item() for steps in (75, 150)]
    assert ends[0] < 25 * LEFT[0] and ends[1] < 1.9 * ends[0]


def test_stage_two_stays_bounded_under_an_annealed_weight():
    stages = stage_two(stage_two_scale=4, stage_two_final_weight=0, stage_two_anneal_steps=20)
    ends = [descend(stages, RIGHT, steps, TARGET="left", SOURCE="right") for steps in (30, 100)]
    assert torch.equal(*ends)
    assert (ends[0] - LEFT).norm() < 0.5


@pytest.mark.parametrize(("scale", "anchor"), [(1.0, 1.0), (3.0, 2.0)])
def test_an_anchor_brings_stage_two_to_rest(scale, anchor):
    stages = stage_two(stage_two_scale=scale, stage_two_anchor=anchor)
    end = descend(stages, RIGHT, 400, TARGET="left", SOURCE="right")
    assert (end - (RIGHT + scale / anchor * (LEFT - RIGHT))).norm() < 0.15
