"""The studio: one prior, loaded beside the server, that makes one order after the other."""

from __future__ import annotations

import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bridge_nerf.errors import UserError
from bridge_nerf.priors.registry import TOYBOX
from bridge_nerf.space.orders import Order, text_to_image

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from bridge_nerf.distillation.prior import ImagePrior
    from bridge_nerf.images.spec import Spec
    from bridge_nerf.space.race import Shot
    from bridge_nerf.space.results import Files, Results
    from bridge_nerf.space.visitors import Room

KEPT = 24
"""Results that are remembered, so that an example is made once."""
WARM_UP = "an apple"
"""A prompt that the toybox can read."""
LONGEST = 900.0
"""Seconds of the longest run that is begun: others wait in line behind it."""

Race = Callable[["Sequence[Spec]", "Float[Tensor, '1 3 h w'] | None"], "Generator[Shot, None, None]"]


@dataclass(frozen=True, eq=False)
class Moment:
    """How far an order is."""

    shots: Sequence[Shot]
    picture: Path
    """What can be seen: the picture enlarged, or the sheet of a race."""
    files: Files | None = None
    """At the end."""

    @property
    def line(self) -> str:
        """In words."""
        last = self.shots[-1]
        if self.files is None:
            left = f", about {duration(last.left)} left" if last.done else ""
            return f"Step {last.done} of {last.steps}{left}"
        if last.done < last.steps:
            return f"Stopped after step {last.done} of {last.steps}; this is the picture as it was then"
        return f"Done: {last.steps} steps in {duration(last.seconds)}"


class Studio:
    """Makes pictures, one order at a time: whoever calls `make` sees to that (the app's queue does).

    Args:
        load: Gives (name, prior); called once, in a thread of its own.
        on_gpu: Wraps the race, where a GPU must be asked for (ZeroGPU).
    """

    def __init__(
        self, load: Callable[[], tuple[str, ImagePrior]], on_gpu: Callable[[Race], Race] | None = None
    ) -> None:
        self._load, self._race = load, (on_gpu or (lambda race: race))(self._races)
        self._prior: Future[tuple[str, ImagePrior]] = Future()
        self._kept: OrderedDict[str, Results] = OrderedDict()
        self._paces: dict[str, float] = {}
        self._measuring = threading.Lock()

    def open(self) -> None:
        """Begin to load."""
        threading.Thread(target=self._opened, daemon=True).start()

    def _opened(self) -> None:
        try:
            name, prior = self._load()
            if (
                name == TOYBOX
            ):  # the first step of all is slow; nobody should wait for it, nor believe its pace
                _pace(name, prior, "sds")
        except Exception as error:  # of whatever kind, whoever waits for the prior must hear of it
            self._prior.set_exception(error)
            print(f"the prior cannot be had: {error}", file=sys.stderr)
            return
        self._prior.set_result((name, prior))

    def ready(self, patience: float | None = None) -> tuple[str, ImagePrior]:
        """(name, prior), once it is loaded.

        Raises:
            TimeoutError: It takes longer than `patience` seconds.
            UserError: It cannot be had.
        """
        return self._prior.result(patience)

    def estimate(self, objectives: Sequence[str], steps: int) -> float | None:
        """Seconds that a run will take. The toybox is fast enough to try; of another prior it is None where
        nothing like it was made so far.
        """
        name, prior = self.ready()
        with self._measuring:
            for each in set(objectives) - self._paces.keys():
                if name != TOYBOX:
                    return None
                self._paces[each] = _pace(name, prior, each)
        return steps * sum(self._paces[name] for name in objectives)

    def make(self, order: Order, room: Room) -> Iterator[Moment]:
        """The order on its way, until it is done or the room's `stop` is set; the last moment has files.

        What was made before is there at once.

        Raises:
            UserError: It would take too long, the prior cannot read a prompt, or a gradient is not finite.
        """
        from bridge_nerf.images.pictures import png
        from bridge_nerf.space.results import results_of
        from bridge_nerf.space.sheets import sheet

        def moment(results: Results | None = None) -> Moment:
            picture = room.keep(png(sheet(shots[-1].pictures, order.objectives)), "png")
            return Moment(shots, picture, results.write(room.folder, order.stem) if results else None)

        shots: list[Shot] = []
        with room.run():
            if order.key in self._kept:
                self._kept.move_to_end(order.key)
                shots.extend(self._kept[order.key].shots)
                yield moment(self._kept[order.key])
                return
            self._check_length(order)
            with closing(self._race(order.specs, order.start)) as course:
                for shot in course:
                    shots.append(shot)
                    yield moment()
                    if room.stop.is_set():
                        break
            results = results_of(order, shots)
            self._learn(order, shots[-1], results)
            yield moment(results)

    def _races(
        self, specs: Sequence[Spec], start: Float[Tensor, "1 3 h w"] | None
    ) -> Generator[Shot, None, None]:
        from bridge_nerf.space.race import race

        return race(specs, self.ready()[1], start)

    def _check_length(self, order: Order) -> None:
        seconds = self.estimate(order.objectives, order.specs[0].recipe.steps)
        if seconds is not None and seconds > LONGEST:
            raise UserError(
                f"that would take about {duration(seconds)}, and others wait; take fewer steps or "
                f"a faster objective, so that it is at most {duration(LONGEST)}"
            )

    def _learn(self, order: Order, last: Shot, results: Results) -> None:
        """Remember the pace, and what was made if it was finished."""
        if len(order.objectives) == 1 and last.done:
            self._paces[order.objectives[0]] = last.seconds / last.done
        if last.done == last.steps:
            self._kept[order.key] = results
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)


def _pace(name: str, prior: ImagePrior, objective: str) -> float:
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
