"""What the prior makes of noisy latents, and where an objective pulls them: for people to look at."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.distillation.epsilon import Epsilon, Slot, Term
from bridge_nerf.distillation.objectives import Objective
from bridge_nerf.distillation.problem import Point, Problem
from bridge_nerf.distillation.sample import Sample

SOURCES = (Slot.SOURCE, Slot.ADAPTER, Slot.NEGATIVE, Slot.NULL)
"""Slots that stand for where x is now, the one that says most about it first."""


class Inspection(NamedTuple):
    """The answers of the prior at one noise level, and the gradient that an objective makes there."""

    target: Float[Tensor, "b *dims"]
    """x0 expected under TARGET's condition, without guidance."""
    source: Float[Tensor, "b *dims"]
    """x0 expected under the condition of `source_slot`."""
    source_slot: Slot
    """The first of `SOURCES` that something answers, or else NOISE, whose x0 is x."""
    gradient: Float[Tensor, "b *dims"]
    """w(t) (eps_target - eps_source), of the objective."""


@torch.no_grad()
def inspect(objective: Objective, problem: Problem, sample: Sample) -> Inspection:
    """Denoise x_t in one step under either condition, and ask for the gradient there.

    Objectives that do not ask SOURCE are shown with what stands in its place.
    """
    slot = next(filter(problem.can_answer, SOURCES), Slot.NOISE)
    x_t = sample.x_t(problem.schedule)
    point = Point(x_t, sample.t, sample.noise)
    answers = problem.evaluate_all([(Epsilon((Term(s, 0.0, 1.0),)), point) for s in (Slot.TARGET, slot)])
    target, source = (problem.schedule.x0_from_eps(x_t, eps, sample.t) for eps in answers)
    return Inspection(target, source, slot, objective.gradient(problem, sample).value)
