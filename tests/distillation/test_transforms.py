from dataclasses import replace

import torch

from bridge_nerf.distillation.config import ObjectiveConfig
from bridge_nerf.distillation.objectives import sds
from bridge_nerf.distillation.registry import stages_for
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.distillation.transforms import Clip, unit_norm

from .worlds import MIXED_T, draws, problem

SAMPLE = Sample(draws("x", 6, 2), MIXED_T, draws("noise", 6, 2))


def test_clipping_bounds_every_entry_and_leaves_small_ones():
    p, plain = problem(TARGET="left", NULL=""), sds(7.5)
    gradient = plain.gradient(p, SAMPLE).value
    limit = gradient.abs().median().item()
    clipped = replace(plain, transforms=(Clip(limit),)).gradient(p, SAMPLE).value
    assert clipped.abs().max() == limit
    small = gradient.abs() <= limit
    assert torch.equal(clipped[small], gradient[small])


def test_unit_norm_keeps_each_samples_direction():
    p, plain = problem(TARGET="left", NULL=""), sds(7.5)
    gradient, unit = (o.gradient(p, SAMPLE).value for o in (plain, replace(plain, transforms=(unit_norm,))))
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(6, dtype=torch.float64))
    torch.testing.assert_close(unit * gradient.norm(dim=1, keepdim=True), gradient)


def test_options_transform_the_gradient_of_every_stage():
    stages = stages_for("bridge", ObjectiveConfig(unit_norm=True, gradient_clip=0.5))
    for stage in stages.stages:
        assert stage.objective.transforms == (unit_norm, Clip(0.5))
    assert stages.slots == stages_for("bridge").slots
