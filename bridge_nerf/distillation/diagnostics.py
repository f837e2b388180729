"""The two errors that the paper finds in score distillation, as numbers for any images, prompts and times.

Distillation would be exact if a step moved x along the bridge from the distribution that x comes from to the
target. It is not, for two reasons (McAllister et al. 2024): one linear step stands in for two ODEs, and the
source estimate does not know the distribution that x comes from.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.distillation.epsilon import ADAPTER, NULL, SOURCE, TARGET, Epsilon, Slot
from bridge_nerf.distillation.problem import Point, Problem
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.distillation.transport import FullBridge, Jump
from bridge_nerf.distillation.weighting import sigma_over_alpha
from bridge_nerf.schedules import expand_like

SOURCES = {Slot.NULL: NULL, Slot.SOURCE: SOURCE, Slot.ADAPTER: ADAPTER}
"""The estimates that objectives take for the distribution of the current images."""
ERRORS = tuple(f"{error}_{slot.lower()}" for error in ("first_order", "mismatch") for slot in SOURCES)
"""Every name that `measure` may give an error."""


@torch.no_grad()
def first_order_error(
    problem: Problem, target: Epsilon, source: Epsilon, sample: Sample, steps: int = 10
) -> Float[Tensor, "b"]:
    """Distance between where one linear step lands and where the two ODEs land, in units of x.

    Root mean square over the entries of a sample. Costs 2 `steps` + 1 batched network calls.

    Args:
        sample: Its noise carries x up to t for the linear step.
        steps: Number of steps of the probability flow on each way.
    """
    one, many = (way(problem, target, source, sample) for way in (Jump(), FullBridge(steps)))
    difference = expand_like(sigma_over_alpha(problem.schedule, sample.t), one) * (one - many)
    return difference.flatten(1).square().mean(1).sqrt()


@torch.no_grad()
def source_mismatch(problem: Problem, source: Epsilon, sample: Sample) -> Float[Tensor, "b"]:
    """The error of `source` as a denoiser of the current images: the mean square of source - NOISE at x_t.

    For one distribution of images the estimate that knows it has the least.
    """
    error = problem.evaluate(source, sample.x_t(problem.schedule), sample.t) - sample.noise
    return error.flatten(1).square().mean(1)


@torch.no_grad()
def measure(problem: Problem, sample: Sample, steps: int = 10) -> dict[str, Float[Tensor, ""]]:
    """Both errors for every source that the problem can answer, means over the batch.

    Returns:
        "mismatch_null", "first_order_null" and so on, for null, source and adapter: some of `ERRORS`.
    """
    point = Point(sample.x_t(problem.schedule), sample.t)
    sources = {slot: epsilon for slot, epsilon in SOURCES.items() if problem.can_answer(slot)}
    answers = problem.evaluate_all([(epsilon, point) for epsilon in sources.values()])
    errors = {}
    for (slot, epsilon), answer in zip(sources.items(), answers, strict=True):
        errors[f"mismatch_{slot.lower()}"] = (answer - sample.noise).square().mean()
        distance = first_order_error(problem, TARGET, epsilon, sample, steps)
        errors[f"first_order_{slot.lower()}"] = distance.mean()
    return errors
