"""Numbers that change with the training step: a function of the absolute step alone survives a resume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bridge_nerf.errors import UserError
from bridge_nerf.flags import SHARE, STEP, Range, check_flags


@dataclass(frozen=True)
class Ramp:
    """A number that moves linearly from `initial` to `final` between two absolute steps, and rests outside.

    `Ramp()` is the constant 1.
    """

    initial: float = 1.0
    """Value up to the step `begin`."""
    final: float = 1.0
    """Value from the step `end` on."""
    begin: int = 0
    """Step at which the change begins."""
    end: int = 0
    """Step at which the change is complete."""

    def __post_init__(self) -> None:
        if not 0 <= self.begin <= self.end:
            raise UserError(
                f"a change from step {self.begin} to step {self.end} is none; "
                "it must not begin before step 0, nor end before it begins"
            )

    def __call__(self, step: int) -> float:
        if step >= self.end:
            return self.final
        share = max(step - self.begin, 0) / max(self.end - self.begin, 1)
        return self.initial + share * (self.final - self.initial)


@dataclass
class TimestepRange:
    """A range of diffusion times, uniform at each step, whose ends may be annealed."""

    RANGES: ClassVar[dict[str, Range]] = {
        "minimum": SHARE,
        "maximum": SHARE,
        "final_maximum": SHARE,
        "final_minimum": SHARE,
        "anneal_steps": STEP,
        "anneal_begin": STEP,
        "stride": Range(1, 1000),
    }

    minimum: float = 0.02
    """Smallest t before annealing, as a fraction of T."""
    maximum: float = 0.98
    """Largest t before annealing, as a fraction of T."""
    final_maximum: float = 0.98
    """Largest t once annealing is over, as a fraction of T; without effect while anneal_steps is 0."""
    anneal_steps: int = 0
    """Steps over which the largest t moves linearly from maximum to final_maximum; 0 keeps it at maximum."""
    anneal_begin: int = 0
    """Absolute step at which annealing begins."""
    final_minimum: float | None = None
    """Smallest t once annealing is over, as a fraction of T; None keeps it at minimum."""
    stride: int = 1
    """Draws only every so many-th time: 1, 1 + stride, ..., the grid of a DDIM sampler with T / stride steps
    and an offset of one; 1 draws all. A range that holds none of them draws the next one."""

    def check(self) -> None:
        """Raises UserError for a range that makes no sense. Not done when made, as command lines do."""
        check_flags(self)
        ends = (self.minimum, self.maximum), (self._final_minimum, self.final_maximum)
        if not all(0 <= low <= high <= 1 for low, high in ends):
            said = " and then ".join(f"from {low:g} to {high:g}" for low, high in ends)
            raise UserError(
                f"diffusion times {said} of T make no sense: fractions must obey 0 <= minimum <= maximum "
                "<= 1, also with the final maximum and minimum"
            )

    @property
    def _final_minimum(self) -> float:
        return self.minimum if self.final_minimum is None else self.final_minimum

    def at(self, step: int) -> tuple[float, float]:
        """(lowest, highest) fraction of T at this step."""
        if not self.anneal_steps:
            return self.minimum, self.maximum
        begin, end = self.anneal_begin, self.anneal_begin + self.anneal_steps
        low = Ramp(self.minimum, self._final_minimum, begin, end)
        return low(step), Ramp(self.maximum, self.final_maximum, begin, end)(step)
