"""The one place where a gradient becomes a loss."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge_nerf.distillation.objectives import Objective
from bridge_nerf.distillation.problem import Problem


class Distilled(NamedTuple):
    """What a step needs and what it should log."""

    loss: Float[Tensor, ""]
    """0.5 |gradient|^2 in value; its derivative with respect to x is `gradient`."""
    gradient: Float[Tensor, "b *dims"]
    """weight * w(t) (eps_target - eps_source)."""
    metrics: dict[str, Float[Tensor, ""]]
    """pull: root mean square of eps_target - eps_source; gradient: of the gradient."""


def distillation_loss(
    objective: Objective,
    problem: Problem,
    x: Float[Tensor, "b *dims"],
    t: Int[Tensor, "b"],
    noise: Float[Tensor, "b *dims"],
    weight: float = 1.0,
) -> Distilled:
    """A loss whose derivative with respect to x is `weight` times the objective's gradient, to the last bit.

    It is a sum over all entries, the batch included: divide by the batch size for a mean over samples.

    Raises:
        FloatingPointError: The gradient is not finite. The caller knows the step and should add it.
    """
    pull = objective.pull(problem, x, t, noise)
    gradient = weight * objective.weigh(pull, problem.schedule, t)
    if not torch.isfinite(gradient).all():
        bad = (~torch.isfinite(gradient)).flatten(1).any(1)
        raise FloatingPointError(f"non-finite gradient at t = {t[bad].tolist()} of {t.tolist()}")
    # Not 0.5 |x - stopgrad(x - gradient)|^2: in float32 that rounds a small gradient away against x.
    loss = 0.5 * gradient.square().sum() + (gradient * (x - x.detach())).sum()
    metrics = {"pull": pull.square().mean().sqrt(), "gradient": gradient.square().mean().sqrt()}
    return Distilled(loss, gradient, metrics)
