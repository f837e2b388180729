"""The objective of each absolute step, as a pure function: a resumed run cannot lose its stage."""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from bridge_nerf.annealing import Ramp, TimestepRange
from bridge_nerf.distillation.epsilon import Epsilon, Slot
from bridge_nerf.distillation.objectives import Objective
from bridge_nerf.errors import UserError


@dataclass(frozen=True)
class Stage:
    """An objective, the absolute step from which it acts, and what its gradient is multiplied with.

    The source may move: at each step `share` times `shift` is added to it.

    Args:
        times: The diffusion times of this stage; None is those of the run.
        rate: Share of the run's learning rate; images follow it, scenes do not.
    """

    objective: Objective
    start: int = 0
    weight: Ramp = field(default_factory=Ramp)
    shift: Epsilon = field(default_factory=Epsilon)
    share: Ramp = field(default_factory=Ramp)
    times: TimestepRange | None = None
    rate: float = 1.0

    @property
    def slots(self) -> frozenset[Slot]:
        """Every slot that the stage may ask at any of its steps."""
        return self.objective.slots | self.shift.slots

    def at(self, step: int) -> Objective:
        """The objective, with the source of this step."""
        return replace(self.objective, source=self.objective.source + self.share(step) * self.shift)


class Active(NamedTuple):
    """The objective that acts at a step, and its numbers."""

    objective: Objective
    weight: float
    index: int
    """Index of the stage, from 0."""
    times: TimestepRange | None = None
    """Diffusion times of the stage; None is those of the run."""
    rate: float = 1.0
    """Share of the run's learning rate."""


@dataclass(frozen=True)
class Stages:
    """Stages in the order of their starts, the first at 0. Of two that start together the later acts."""

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        starts = [stage.start for stage in self.stages]
        if not starts or starts[0] != 0 or starts != sorted(starts):
            raise UserError(
                f"stages start at steps {starts}; the first must start at 0, none before its predecessor"
            )

    @property
    def slots(self) -> frozenset[Slot]:
        """Every slot that any stage asks, on whatever way."""
        return frozenset().union(*(stage.slots for stage in self.stages))

    @property
    def acting(self) -> tuple[Stage, ...]:
        """The stages that act at any step: not those that give way where they begin."""
        following = [stage.start for stage in self.stages[1:]] + [-1]
        return tuple(s for s, end in zip(self.stages, following, strict=True) if s.start != end)

    @property
    def edits(self) -> bool:
        """True where any stage needs a reference image."""
        return any(stage.objective.transport.needs_reference for stage in self.stages)

    def check_reached(self, steps: int) -> None:
        """Raises UserError where a run of so many steps ends before the last stage has begun."""
        if (start := self.stages[-1].start) >= steps:
            raise UserError(
                f"stage {len(self.stages)} begins at step {start} and the run ends at {steps}, without it: "
                f"give more than {start} steps, let it begin earlier, or choose an objective of one stage"
            )

    def at(self, step: int) -> Active:
        """The objective that acts at this absolute step."""
        index = sum(stage.start <= step for stage in self.stages) - 1
        return self.stage(index, step)

    def stage(self, index: int, step: int) -> Active:
        """The stage of that index at this absolute step; before it has begun, as it will begin."""
        stage = self.stages[index]
        step = max(step, stage.start)
        return Active(stage.at(step), stage.weight(step), index, stage.times, stage.rate)
