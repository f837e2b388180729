"""The one place where a gradient becomes a loss."""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.distillation.epsilon import Epsilon, Slot, Term
from bridge_nerf.distillation.objectives import Objective
from bridge_nerf.distillation.problem import Point, Problem
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.errors import UserError

Cause = Literal["render", "x", "answer", "adapter", "gradient", "regulariser"]
"""The first value that was not finite: the image of an object, the latents, the answer of the prior or of its
adapter, the gradient that the objective makes of them, or a term that is added to the loss."""


class NonFinite(FloatingPointError):
    """A step that cannot be made; `explained` says what to do."""

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause: Cause = cause


class Distilled(NamedTuple):
    """The loss of a step, and numbers to log."""

    loss: Float[Tensor, ""]
    """0.5 |gradient|^2 in value; its derivative with respect to x is `gradient`."""
    gradient: Float[Tensor, "b *dims"]
    """weight * w(t) (eps_target - eps_source)."""
    metrics: dict[str, Float[Tensor, ""]]
    """pull: root mean square of eps_target - eps_source; gradient: of the gradient."""
    why: Callable[[], NonFinite]
    """Says, once the loss is found not to be finite, what was the first not to be; looks at everything."""


def read(numbers: Mapping[str, Float[Tensor, ""]]) -> dict[str, float]:
    """The numbers in main memory, all at once: on a GPU each look waits for all work that is queued."""
    return dict(
        zip(numbers, torch.stack([value.detach() for value in numbers.values()]).tolist(), strict=True)
    )


def distillation_loss(
    objective: Objective, problem: Problem, sample: Sample, weight: float = 1.0
) -> Distilled:
    """A loss whose derivative by `sample.x` is `weight` times the objective's gradient, to the last bit.

    It is a sum over all entries, the batch included: divide by the batch size for a mean over samples.
    Nothing is looked at: where the gradient is not finite, neither is the loss. Who makes a step looks at all
    its losses at once (`read`), and knows the step (`explained`).
    """
    value, pull = objective.gradient(problem, sample)
    gradient, x = weight * value, sample.x
    # Not 0.5 |x - stopgrad(x - gradient)|^2: in float32 that rounds a small gradient away against x.
    loss = 0.5 * gradient.square().sum() + (gradient * (x - x.detach())).sum()
    metrics = {"pull": pull.square().mean().sqrt(), "gradient": gradient.square().mean().sqrt()}

    def why() -> NonFinite:
        bad = (~torch.isfinite(gradient)).flatten(1).any(1)
        if not bad.any():
            return NonFinite("gradient", f"the distillation loss is {loss.item()}")
        at = f"t = {sample.t[bad].tolist()} of {sample.t.tolist()}"
        return NonFinite(_cause(problem, sample), f"non-finite gradient at {at}")

    return Distilled(loss, gradient, metrics, why)


def _cause(problem: Problem, sample: Sample) -> Cause:
    """The first value that is not finite; evaluates the networks once more, a prompt at a time."""
    if not torch.isfinite(sample.x).all():
        return "x"
    point = Point(sample.x_t(problem.schedule), sample.t, sample.noise)
    for slot in filter(problem.can_answer, problem.conditions):
        (answer,) = problem.evaluate_all([(Epsilon((Term(slot, 0.0, 1.0),)), point)])
        if not torch.isfinite(answer).all():
            return "adapter" if slot == Slot.ADAPTER else "answer"
    return "gradient"


def explained(error: NonFinite, step: int, prior: str, dtype: torch.dtype, single: str) -> UserError:
    """A message of one line for the user about a step that cannot be made.

    At step 0 nothing has been learnt, so that no learning rate can be to blame.

    Args:
        step: Absolute: a resumed run goes on from what was learnt.
        prior: Name of the prior.
        dtype: Type of its networks.
        single: Flag that gives it single precision.
    """
    who = f"the prior {prior} in {str(dtype).removeprefix('torch.')}"
    more = f"give {single}" if dtype.itemsize < 4 else "get its weights again, or give another prior"
    found, mend = {
        "render": ("the render is not finite, before any prior has seen it", "check the flags of the model"),
        "x": ("the latents are not finite", f"{who} encodes them so: {more}"),
        "answer": (f"{who} answers numbers that are not finite", more),
        "adapter": ("the adapter answers numbers that are not finite", f"it is {who} as yet: {more}"),
        "gradient": ("the prior's answers are finite, but not what is made of them", "lower the guidance"),
        "regulariser": ("the render and the prior's answers are finite", "lower its weight"),
    }[error.cause]
    if step == 0:
        return UserError(f"step 0: {error}, and nothing has been learnt yet: {found}; {mend}")
    remedy = f"lower the learning rate{' of the adapter' if error.cause == 'adapter' else ' or the guidance'}"
    if error.cause in ("render", "x", "answer") and dtype.itemsize < 4:
        # Also where x is what went wrong: a gradient through the encoder may have overflown on its way back.
        remedy = f"{remedy}, or {more}"
    return UserError(f"step {step}: {error}: {found}; {remedy}")
