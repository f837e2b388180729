"""How long steps take, by objective: tried, or learned from what was made."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bridge_nerf.app.requests import text_to_image

if TYPE_CHECKING:
    from bridge_nerf.app.compare import Shot
    from bridge_nerf.distillation.prior import ImagePrior

WARM_UP = "an apple"
"""A prompt that the toybox can read."""


class Paces:
    """Seconds of a step of each objective; those that are not known may be `tried`."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {}
        self._lock = threading.Lock()

    def seconds(
        self, objectives: Sequence[str], steps: int, tried: Callable[[str], float] | None
    ) -> float | None:
        """Of so many steps of all objectives; None where one is unknown and cannot be tried."""
        with self._lock:
            for name in set(objectives) - self._known.keys():
                if tried is None:
                    return None
                self._known[name] = tried(name)
            return steps * sum(self._known[name] for name in objectives)

    def learn(self, objective: str, shots: Sequence[Shot]) -> None:
        """From a run that was finished; its first step, which is slower than all others, does not count."""
        first, last = shots[1], shots[-1]
        with self._lock:
            self._known[objective] = (last.seconds - first.seconds) / (last.done - first.done)

    def forget(self, objectives: Sequence[str]) -> None:
        """What is known of these was no good."""
        with self._lock:
            for name in objectives:
                self._known.pop(name, None)


def pace(name: str, prior: ImagePrior, objective: str) -> float:
    """Seconds of a step: the mean over one of each stage."""
    from bridge_nerf.images.module import ImageModule

    module = ImageModule(text_to_image(name, prior, WARM_UP, objective).specs[0], prior)
    steps = [stage.start for stage in module.stages.stages]
    begun = time.perf_counter()
    for step in steps:
        module.loss(step).backward()
    return (time.perf_counter() - begun) / len(steps)


def duration(seconds: float) -> str:
    """In words: "8 s", "2 min"."""
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"
