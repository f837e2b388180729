"""Times of optimisation steps by objective: measured beforehand, or learned from finished runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from bridge_nerf.app.requests import text_to_image
from bridge_nerf.app.snapshots import Snapshot
from bridge_nerf.distillation.prior import ImagePrior

WARM_UP_PROMPT = "an apple"
"""A prompt that the toybox can read."""


class StepTimes:
    """Seconds of a step of each objective.

    Args:
        measure: Gives the seconds of one that is not known yet; None where that would take too long.
    """

    def __init__(self, measure: Callable[[str], float] | None) -> None:
        self._measure = measure
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def total(self, objectives: Sequence[str], steps: int) -> float | None:
        """Seconds of so many steps of all objectives; None where one is unknown and cannot be measured."""
        with self._lock:
            for name in set(objectives) - self._seconds.keys():
                if self._measure is None:
                    return None
                self._seconds[name] = self._measure(name)
            return steps * sum(self._seconds[name] for name in objectives)

    def learn(self, objective: str, made: Sequence[Snapshot]) -> None:
        """Learn from a finished run; its first step, which is slower than all others, does not count."""
        first, last = made[1], made[-1]
        with self._lock:
            self._seconds[objective] = (last.seconds - first.seconds) / (last.done - first.done)

    def forget(self, objectives: Sequence[str]) -> None:
        """Forget times that have proved wrong."""
        with self._lock:
            for name in objectives:
                self._seconds.pop(name, None)


def measured_step_time(prior_name: str, prior: ImagePrior, objective: str) -> float:
    """Seconds of a step: the mean over one of each stage."""
    from bridge_nerf.images.module import ImageModule

    module = ImageModule(text_to_image(prior_name, prior, WARM_UP_PROMPT, objective).specs[0], prior)
    steps = [stage.start for stage in module.distiller.stages.stages]
    begun = time.perf_counter()
    for step in steps:
        module.loss(step).backward()
    return (time.perf_counter() - begun) / len(steps)


def duration(seconds: float) -> str:
    """A time in words: "8 s", "2 min"."""
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"
