"""What is not linear in the answers: it wraps a gradient, a transport or a problem, outside of the core."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge_nerf.distillation.epsilon import TARGET, Epsilon, Slot
from bridge_nerf.distillation.objectives import Objective
from bridge_nerf.distillation.problem import Answers, Point, Problem
from bridge_nerf.distillation.transport import Jump, Transport
from bridge_nerf.errors import UserError
from bridge_nerf.schedules import NoiseSchedule, expand_like

Shape = Callable[[Tensor], Tensor]
"""From a weighted gradient to another."""


@dataclass(frozen=True)
class Clip:
    """Every entry within [-limit, limit] (Hong et al. 2023, "Debiasing Scores and Prompts")."""

    limit: float

    def __call__(self, gradient: Float[Tensor, "b *dims"]) -> Float[Tensor, "b *dims"]:
        return gradient.clamp(-self.limit, self.limit)


def unit_norm(gradient: Float[Tensor, "b *dims"]) -> Float[Tensor, "b *dims"]:
    """Each sample's gradient over its length, as the code of classifier score distillation does."""
    return gradient / expand_like(gradient.flatten(1).norm(dim=1) + 1e-8, gradient)


@dataclass(frozen=True)
class Shaped(Objective):
    """An objective whose weighted gradient is reshaped."""

    shapes: tuple[Shape, ...] = ()

    def weigh(
        self, pull: Float[Tensor, "b *dims"], schedule: NoiseSchedule, t: Int[Tensor, "b"]
    ) -> Float[Tensor, "b *dims"]:
        """The objective's own gradient through all shapes, in their order."""
        gradient = super().weigh(pull, schedule, t)
        for shape in self.shapes:
            gradient = shape(gradient)
        return gradient


def shaped(objective: Objective, *shapes: Shape) -> Objective:
    """The same objective, its gradient reshaped; with no shape, itself."""
    parts: dict[str, Any] = {part.name: getattr(objective, part.name) for part in fields(Objective)}
    return Shaped(**parts, shapes=shapes) if shapes else objective


@dataclass(frozen=True)
class Rescaled(Transport):
    """As `Jump`, but guidance may not widen the image that it expects.

    The target's x0 is brought to the standard deviation of TARGET's and mixed in by `share`: Lin et al. 2023,
    "Common Diffusion Noise Schedules and Sample Steps are Flawed", section 3.4, on x0.
    """

    share: float

    @property
    def slots(self) -> frozenset[Slot]:
        """TARGET, without guidance."""
        return TARGET.slots

    def __call__(
        self,
        problem: Problem,
        target: Epsilon,
        source: Epsilon,
        x: Float[Tensor, "b *dims"],
        t: Int[Tensor, "b"],
        noise: Float[Tensor, "b *dims"],
    ) -> Float[Tensor, "b *dims"]:
        """All three estimates at the same point, from one batched call."""
        schedule, x_t = problem.schedule, problem.schedule.add_noise(x, noise, t)
        point = Point(x_t, t, noise)
        wide, plain, here = problem.evaluate_all([(target, point), (TARGET, point), (source, point)])
        wide, plain = (schedule.x0_from_eps(x_t, eps, t) for eps in (wide, plain))
        ratio = plain.flatten(1).std(dim=1) / wide.flatten(1).std(dim=1)
        return schedule.eps_from_x0(x_t, wide * expand_like(1 + self.share * (ratio - 1), x), t) - here


def rescaled(objective: Objective, share: float) -> Objective:
    """The same objective with rescaled guidance.

    Raises:
        UserError: Its target is no single estimate, or not reached by `Jump`.
    """
    total = sum(term.weight for term in objective.target.terms)
    if not isinstance(objective.transport, Jump) or abs(total - 1) > 1e-9:
        raise UserError(
            f"guidance_rescale {share:g} needs one guided estimate, reached in one step: "
            "use it with sds, nfsd, vsd or bridge, or set it to 0"
        )
    return replace(objective, transport=Rescaled(share))


@dataclass(frozen=True, eq=False)
class PerpNeg(Problem):
    """TARGET avoids NEGATIVE without losing itself (Perp-Neg, Armandpour et al. 2023, eq. 8).

    TARGET - NULL loses `strength` times the part of NEGATIVE - NULL that is perpendicular to it, sample by
    sample. So guided(s) is theirs: NULL + s (towards - strength * perpendicular). In 3D, NEGATIVE is another
    side's prompt.
    """

    strength: float = 1.0

    def _answers(self, asked: Sequence[tuple[Slot, Point]]) -> Answers:
        points = [point for slot, point in asked if slot == Slot.TARGET]
        more = [(slot, point) for point in points for slot in (Slot.NEGATIVE, Slot.NULL)]
        answers = super()._answers([*asked, *more])
        for point in points:
            null = answers[Slot.NULL, point]
            towards, away = (answers[slot, point] - null for slot in (Slot.TARGET, Slot.NEGATIVE))
            answers[Slot.TARGET, point] = null + towards - self.strength * perpendicular(away, towards)
        return answers


def perpendicular(vector: Float[Tensor, "b *dims"], to: Float[Tensor, "b *dims"]) -> Float[Tensor, "b *dims"]:
    """The part of `vector` that is perpendicular to `to`, each sample as one vector."""
    flat, along = vector.flatten(1), to.flatten(1)
    share = (flat * along).sum(1) / along.square().sum(1).clamp(min=torch.finfo(to.dtype).tiny)
    return vector - expand_like(share, to) * to
