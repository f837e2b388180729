"""One run's answers: which prompt stands in which slot, and what an estimate is worth at a point."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge_nerf.distillation.epsilon import Epsilon, Slot
from bridge_nerf.distillation.prior import Condition, DiffusionPrior
from bridge_nerf.errors import UserError
from bridge_nerf.schedules import NoiseSchedule, per_sample


@dataclass(frozen=True, eq=False)
class Problem:
    """What an objective is about.

    Args:
        prior: Answers TARGET, SOURCE, NULL and NEGATIVE.
        conditions: What the network is told, by slot: one row for all samples, or a row each.
        adapter: Answers ADAPTER.
    """

    prior: DiffusionPrior
    conditions: Mapping[Slot, Condition]
    adapter: DiffusionPrior | None = None

    @property
    def schedule(self) -> NoiseSchedule:
        """The prior's."""
        return self.prior.schedule

    @torch.no_grad()
    def evaluate(
        self,
        epsilon: Epsilon,
        x_t: Float[Tensor, "b *dims"],
        t: Int[Tensor, "b"],
        noise: Float[Tensor, "b *dims"] | None = None,
        previous: Float[Tensor, "b *dims"] | None = None,
    ) -> Float[Tensor, "b *dims"]:
        """The value of `epsilon` at x_t, from at most one batched call of each network, without a graph.

        Args:
            noise: Answers NOISE.
            previous: Answers PREVIOUS.

        Raises:
            UserError: The estimate uses a slot that nothing answers.
        """
        given = {Slot.NOISE: noise, Slot.PREVIOUS: previous}
        answers = {slot: value for slot, value in given.items() if value is not None}
        asked = epsilon.slots - given.keys()
        answers |= self._ask(self.prior, asked - {Slot.ADAPTER}, x_t, t)
        if self.adapter is not None:
            answers |= self._ask(self.adapter, asked & {Slot.ADAPTER}, x_t, t)
        if missing := epsilon.slots - answers.keys():
            raise UserError(
                f"nothing answers {', '.join(sorted(missing))} of the estimate {epsilon}; "
                f"answered: {', '.join(sorted(answers)) or 'nothing'}; give it a prompt (ADAPTER: a network)"
            )
        total = torch.zeros_like(x_t)
        for slot, start, weight in epsilon.terms:
            counts = weight * (t >= start * self.schedule.num_timesteps).to(x_t.dtype)
            total = total + per_sample(counts, x_t) * answers[slot]
        return total

    def _ask(
        self,
        network: DiffusionPrior,
        slots: Iterable[Slot],
        x_t: Float[Tensor, "b *dims"],
        t: Int[Tensor, "b"],
    ) -> dict[Slot, Tensor]:
        """The network's answers; slots with equal conditions share theirs."""
        distinct: list[Condition] = []
        index: dict[Slot, int] = {}
        for slot in sorted(slot for slot in slots if slot in self.conditions):
            condition = self.conditions[slot]
            known = (i for i, other in enumerate(distinct) if condition.equals(other))
            index[slot] = next(known, len(distinct))
            if index[slot] == len(distinct):
                distinct.append(condition)
        if not distinct:
            return {}
        n = len(distinct)
        conditions = Condition.cat([condition.expand(len(x_t)) for condition in distinct])
        answers = network.eps(x_t.repeat(n, *[1] * (x_t.ndim - 1)), t.repeat(n), conditions).chunk(n)
        return {slot: answers[i] for slot, i in index.items()}
