"""The studio: one prior, loaded beside the server, that makes one order after the other."""

from __future__ import annotations

import math
import sys
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bridge_nerf.app.requests import Order
from bridge_nerf.app.timing import Paces, duration, pace
from bridge_nerf.errors import UserError
from bridge_nerf.files import auxiliary
from bridge_nerf.priors.registry import TOYBOX

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from bridge_nerf.app.compare import Shot
    from bridge_nerf.app.results import Files, Results
    from bridge_nerf.app.sessions import Room
    from bridge_nerf.distillation.prior import ImagePrior
    from bridge_nerf.images.spec import Spec

KEPT = 64
"""Results that are remembered, so that an example is made once."""
START = 15.0
"""Seconds, a guess, from asking for a GPU to the first step: the weights move there, the prompts are read."""
MARGIN = 1.5
"""For how long a GPU is asked, in times the expected."""

Race = Callable[["Sequence[Spec]", "Float[Tensor, '1 3 h w'] | None"], "Generator[Shot | str, None, None]"]
"""Shots; at the end, where something went wrong, its sentence."""
Seconds = Callable[["Sequence[Spec]", "Float[Tensor, '1 3 h w'] | None"], int]
"""For how long a race with the same arguments wants a GPU."""


@dataclass(frozen=True, eq=False)
class Moment:
    """How far an order is."""

    shots: Sequence[Shot]
    image: Path | None
    """What can be seen: the image enlarged, or the sheet of a race; None where it could not be made."""
    files: Files | None = None
    """At the end."""

    @property
    def line(self) -> str:
        """In words."""
        last = self.shots[-1]
        if self.files is None:
            left = f", about {duration(last.left)} left" if last.done else ""
            return f"Step {last.done} of {last.steps}{left}"
        without = "" if self.files.video else "; the video could not be made"
        if last.done < last.steps:
            return (
                f"Stopped after step {last.done} of {last.steps}; this is the image as it was then{without}"
            )
        return f"Done: {last.steps} steps in {duration(last.seconds)}{without}"


class Studio:
    """Makes images, one order at a time: whoever calls `make` sees to that (the app's queue does).

    Args:
        load: Gives (name, prior); called once.
        on_gpu: Wraps the race, where a GPU must be asked for (ZeroGPU), given how long for: it then runs in a
            process of its own, and nothing else may touch the GPU.
        longest: Seconds of the longest run that is begun: others wait in line behind it. Also those that a
            GPU is asked for at most.
    """

    def __init__(
        self,
        load: Callable[[], tuple[str, ImagePrior]],
        on_gpu: Callable[[Race, Seconds], Race] | None = None,
        longest: float = 900.0,
    ) -> None:
        self._load, self._longest, self._apart = load, longest, on_gpu is not None
        self._race = on_gpu(self._races, self.gpu_seconds) if on_gpu else self._races
        self._prior: Future[tuple[str, ImagePrior] | str] = Future()
        self._kept: OrderedDict[str, Results] = OrderedDict()
        self._paces = Paces()

    def open(self) -> None:
        """Begin to load: in a thread, or at once where the prior must lie ready for other processes."""
        if self._apart:
            self._opened()
        else:
            threading.Thread(target=self._opened, daemon=True).start()

    def _opened(self) -> None:
        try:
            name, prior = self._load()
            if self._can_try(name):  # the first step of all is slow: nobody should wait for it
                pace(name, prior, "sds")
        except Exception as error:  # of whatever kind, whoever waits for the prior must hear of it
            if isinstance(error, UserError):
                print(f"the model cannot be had: {error}", file=sys.stderr)
            else:
                traceback.print_exc()
            self._prior.set_result(f"the model cannot be had: {error}")
            return
        self._prior.set_result((name, prior))

    def _can_try(self, name: str) -> bool:
        """Whether a step costs so little that its pace can be measured beforehand."""
        return name == TOYBOX and not self._apart

    def ready(self, patience: float | None = None) -> tuple[str, ImagePrior]:
        """(name, prior), once it is loaded.

        Raises:
            TimeoutError: It takes longer than `patience` seconds.
            UserError: It cannot be had.
        """
        loaded = self._prior.result(patience)
        if isinstance(loaded, str):
            raise UserError(loaded)
        return loaded

    def estimate(self, objectives: Sequence[str], steps: int) -> float | None:
        """Seconds that a run will take. The toybox is fast enough to try; of another prior it is None where
        nothing like it was made so far.
        """
        name, prior = self.ready()
        tried = partial(pace, name, prior) if self._can_try(name) else None
        seconds = self._paces.seconds(objectives, steps, tried)
        return seconds if seconds is None or not self._apart else START + seconds

    def gpu_seconds(self, specs: Sequence[Spec], start: Float[Tensor, "1 3 h w"] | None) -> int:
        """For how long a race wants a GPU: MARGIN times what is expected, `longest` at most, and also where
        nothing like it was made so far.
        """
        expected = self.estimate([spec.objective for spec in specs], specs[0].recipe.steps)
        return math.ceil(min(self._longest, MARGIN * (expected or self._longest)))

    def make(self, order: Order, room: Room) -> Iterator[Moment]:
        """The order on its way, until it is done or the room's `stop` is set; the last moment has files.

        What was made before is there at once. What was made until something went wrong is kept.

        Raises:
            UserError: It would take too long, the prior cannot read a prompt, or a gradient is not finite.
        """
        from bridge_nerf.app.results import results_of
        from bridge_nerf.app.sheets import sheet
        from bridge_nerf.pixels import png

        def moment(results: Results | None = None) -> Moment:
            files, image = results.write(room.folder, order.stem) if results else None, None
            with auxiliary("the preview"):
                image = room.keep(png(sheet(shots[-1].images, order.objectives)), "png")
            return Moment(shots, image, files)

        shots: list[Shot] = []
        trouble: Exception | None = None
        with room.run():
            if order.key in self._kept:
                self._kept.move_to_end(order.key)
                shots.extend(self._kept[order.key].shots)
                yield moment(self._kept[order.key])
                return
            self._check_length(order)
            with closing(self._race(order.specs, order.start)) as course:
                try:
                    for shot in course:
                        if isinstance(shot, str):
                            raise UserError(shot)
                        shots.append(shot)
                        yield moment()
                        if room.stop.is_set():
                            break
                except Exception as error:  # also a GPU that is taken away, as the time asked for was over
                    trouble = error
                    self._paces.forget(order.objectives)
            if shots:
                results = results_of(order, shots)
                self._learn(order, shots, results)
                yield moment(results)
        if trouble is not None:
            raise trouble

    def _races(
        self, specs: Sequence[Spec], start: Float[Tensor, "1 3 h w"] | None
    ) -> Generator[Shot | str, None, None]:
        from bridge_nerf.app.compare import race

        try:
            yield from race(specs, self.ready()[1], start)
        except UserError as error:  # as its sentence: of an exception only the name would leave the process
            yield str(error)

    def _check_length(self, order: Order) -> None:
        seconds = self.estimate(order.objectives, order.specs[0].recipe.steps)
        if seconds is not None and seconds > self._longest:
            raise UserError(
                f"that would take about {duration(seconds)}, and others wait; take fewer steps or "
                f"a faster objective, so that it is at most {duration(self._longest)}"
            )

    def _learn(self, order: Order, shots: Sequence[Shot], results: Results) -> None:
        """Remember the pace and what was made, of a run that was finished: others are no measure."""
        if shots[-1].done < shots[-1].steps:
            return
        if len(order.objectives) == 1:
            self._paces.learn(order.objectives[0], shots)
        self._kept[order.key] = results
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
