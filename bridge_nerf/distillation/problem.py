"""One run's answers: which prompt stands in which slot, and what an estimate is worth at a point."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge_nerf.distillation.epsilon import Epsilon, Slot
from bridge_nerf.distillation.prior import Condition, DiffusionPrior
from bridge_nerf.errors import UserError
from bridge_nerf.schedules import NoiseSchedule, expand_like


@dataclass(frozen=True, eq=False)
class Point:
    """A point at which estimates are evaluated.

    Args:
        x_t: Noisy images or latents.
        t: Their diffusion times in [0, T).
        noise: Answers NOISE.
        previous: Answers PREVIOUS.
    """

    x_t: Float[Tensor, "b *dims"]
    t: Int[Tensor, "b"]
    noise: Float[Tensor, "b *dims"] | None = None
    previous: Float[Tensor, "b *dims"] | None = None

    def known(self) -> dict[Slot, Tensor]:
        """The answers that need no network."""
        known = {Slot.NOISE: self.noise, Slot.PREVIOUS: self.previous}
        return {slot: value for slot, value in known.items() if value is not None}


Answers = dict[tuple[Slot, Point], Tensor]


@runtime_checkable
class AnswerFilter(Protocol):
    """Replaces a network's answer by a function of it and of other answers at the same point."""

    @property
    def slot(self) -> Slot:
        """The slot whose answer is replaced, wherever it is evaluated."""
        ...

    @property
    def needs(self) -> tuple[Slot, ...]:
        """The slots that are evaluated along with it."""
        ...

    def __call__(self, answers: Mapping[Slot, Tensor]) -> Float[Tensor, "b *dims"]:
        """The new answer of `slot`, from its answer and those of `needs`, each "b *dims"."""
        ...


@dataclass(frozen=True, eq=False)
class Problem:
    """The networks and prompts of a run, which an objective is evaluated with.

    Args:
        prior: Answers TARGET, SOURCE, NULL and NEGATIVE.
        conditions: Conditions of the networks by slot: one row for all samples, or a row each.
        adapter: Answers ADAPTER.
        reference: The clean image that an edit starts from, for transports that compare with it.
        filters: Change answers before estimates combine them, one after the other.
    """

    prior: DiffusionPrior
    conditions: Mapping[Slot, Condition]
    adapter: DiffusionPrior | None = None
    reference: Float[Tensor, "b *dims"] | None = None
    filters: tuple[AnswerFilter, ...] = ()

    @property
    def schedule(self) -> NoiseSchedule:
        """The prior's."""
        return self.prior.schedule

    def can_answer(self, slot: Slot) -> bool:
        """True where a network and a condition stand ready for the slot."""
        return slot in self.conditions and (slot != Slot.ADAPTER or self.adapter is not None)

    def evaluate(
        self,
        epsilon: Epsilon,
        x_t: Float[Tensor, "b *dims"],
        t: Int[Tensor, "b"],
        noise: Float[Tensor, "b *dims"] | None = None,
        previous: Float[Tensor, "b *dims"] | None = None,
    ) -> Float[Tensor, "b *dims"]:
        """The value of `epsilon` at one point; see `evaluate_all`."""
        return self.evaluate_all([(epsilon, Point(x_t, t, noise, previous))])[0]

    @torch.no_grad()
    def evaluate_all(self, questions: Sequence[tuple[Epsilon, Point]]) -> list[Tensor]:
        """The value of each estimate at its point, from at most one batched call of each network, no graph.

        Whatever two questions share (the same `Point` and equal conditions) is computed once.

        Raises:
            UserError: An estimate uses a slot that nothing answers.
        """
        # Sorted, never in a set's order: a resumed run must stack its rows as the unbroken one did.
        requested = [(slot, point) for epsilon, point in questions for slot in sorted(epsilon.slots)]
        answers = self._answers(requested)
        return [self._combine(epsilon, point, answers) for epsilon, point in questions]

    def _answers(self, requested: Sequence[tuple[Slot, Point]]) -> Answers:
        """The answers of the points themselves and of the networks, after the filters."""
        filtered = list(
            dict.fromkeys((f, point) for f in self.filters for s, point in requested if s == f.slot)
        )
        requested = [*requested, *((slot, point) for f, point in filtered for slot in f.needs)]
        answers = {(slot, point): value for _, point in requested for slot, value in point.known().items()}
        answerable = [key for key in requested if self.can_answer(key[0])]
        answers |= self._ask(self.prior, [key for key in answerable if key[0] != Slot.ADAPTER])
        if self.adapter is not None:
            answers |= self._ask(self.adapter, [key for key in answerable if key[0] == Slot.ADAPTER])
        for f, point in filtered:
            answers[f.slot, point] = f(_picked(answers, (f.slot, *f.needs), point, f))
        return answers

    def _combine(self, epsilon: Epsilon, point: Point, answers: Answers) -> Tensor:
        picked = _picked(answers, epsilon.slots, point, f"the estimate {epsilon}")
        total = torch.zeros_like(point.x_t)
        for slot, start, weight in epsilon.terms:
            counts = weight * (point.t >= start * self.schedule.num_timesteps).to(total.dtype)
            total = total + expand_like(counts, total) * picked[slot]
        return total

    def _ask(self, network: DiffusionPrior, requested: Sequence[tuple[Slot, Point]]) -> Answers:
        """The network's answers; at one point, slots with equal conditions share theirs."""
        distinct: list[tuple[Condition, Point]] = []
        index: dict[tuple[Slot, Point], int] = {}
        for slot, point in requested:
            condition = self.conditions[slot]
            known = (i for i, (c, p) in enumerate(distinct) if p is point and condition.equals(c))
            index[slot, point] = next(known, len(distinct))
            if index[slot, point] == len(distinct):
                distinct.append((condition, point))
        if not distinct:
            return {}
        conditions = Condition.cat([condition.expand(len(point.x_t)) for condition, point in distinct])
        x_t, t = (torch.cat([getattr(point, name) for _, point in distinct]) for name in ("x_t", "t"))
        answers = network.eps(x_t, t, conditions).chunk(len(distinct))
        return {key: answers[i] for key, i in index.items()}


def _picked(answers: Answers, slots: Iterable[Slot], point: Point, owner: object) -> dict[Slot, Tensor]:
    """The answers that `owner` wants at a point; UserError where one is missing."""
    if missing := sorted(slot for slot in slots if (slot, point) not in answers):
        known = sorted({slot for slot, place in answers if place is point})
        raise UserError(
            f"nothing answers {', '.join(missing)} of {owner}; "
            f"answered: {', '.join(known) or 'nothing'}; give it a prompt (ADAPTER: a network)"
        )
    return {slot: answers[slot, point] for slot in slots}
