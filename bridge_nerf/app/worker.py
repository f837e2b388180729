"""The worker: one prior, loaded beside the server, that makes one request after the other."""

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
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from bridge_nerf.app.requests import ImageRequest
from bridge_nerf.app.results import Result, grid, result_of
from bridge_nerf.app.sessions import Session
from bridge_nerf.app.snapshots import Snapshot, snapshots
from bridge_nerf.app.timing import StepTimes, duration, measured_step_time
from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.errors import UserError
from bridge_nerf.files import auxiliary
from bridge_nerf.images.spec import Spec
from bridge_nerf.pixels import png
from bridge_nerf.priors.registry import TOYBOX

CACHE_SIZE = 64
"""Results that are kept, so that an example is made once."""
GPU_START_S = 15.0
"""Seconds, a guess, from asking for a GPU to the first step: the weights move there, the prompts are read."""
GPU_MARGIN = 1.5
"""Factor on the expected time for which a GPU is asked."""

Start = Float[Tensor, "1 3 h w"] | None
Optimise = Callable[[Sequence[Spec], Start], Generator[Snapshot | str, None, None]]
"""(specs, start) -> snapshots; where something goes wrong, at the end its message."""
Seconds = Callable[[Sequence[Spec], Start], int]
"""(specs, start) -> seconds for which a GPU is needed."""


@dataclass(frozen=True, eq=False)
class Update:
    """The state of a request on its way; the last update has its files."""

    snapshots: Sequence[Snapshot]
    preview: Path | None
    """The image enlarged, or the grid of a comparison; None where it could not be made."""
    files: tuple[Path, Path | None, Path | None] | None = None
    """(PNG, CSV, MP4) at the end; None for what could not be made."""

    @property
    def status(self) -> str:
        """Progress in words."""
        last = self.snapshots[-1]
        if self.files is None:
            left = f", about {duration(last.seconds_left)} left" if last.done else ""
            return f"Step {last.done} of {last.steps}{left}"
        without = "" if self.files[2] else "; the video could not be made"
        if last.done < last.steps:
            return (
                f"Stopped after step {last.done} of {last.steps}; this is the image as it was then{without}"
            )
        return f"Done: {last.steps} steps in {duration(last.seconds)}{without}"


class Worker:
    """Makes images, one request at a time: callers of `make` see to that (the app's queue does).

    Args:
        prior_name: Resolved name, known before the prior is loaded.
        load: Gives the prior; called once.
        on_gpu: Wraps the optimisation, where a GPU must be asked for (ZeroGPU), given how long for: it then
            runs in a process of its own, and nothing else may touch the GPU.
        max_seconds: Longest run that is begun, because others wait behind it; also the longest for which a
            GPU is asked.
    """

    def __init__(
        self,
        prior_name: str,
        load: Callable[[], ImagePrior],
        on_gpu: Callable[[Optimise, Seconds], Optimise] | None = None,
        max_seconds: float = 900.0,
    ) -> None:
        self.prior_name = prior_name
        self._load, self._max_seconds, self._zero_gpu = load, max_seconds, on_gpu is not None
        self._optimise = on_gpu(self._snapshots, self.gpu_seconds) if on_gpu else self._snapshots
        self._prior: Future[ImagePrior | str] = Future()
        """The prior, or why it cannot be loaded."""
        self._cache: OrderedDict[str, Result] = OrderedDict()
        # The toybox is so fast that a step can be measured beforehand.
        self._measurable = prior_name == TOYBOX and not self._zero_gpu
        self._times = StepTimes(self._measured if self._measurable else None)

    def open(self) -> None:
        """Begin to load: in a thread, or at once where the prior must lie ready for other processes."""
        if self._zero_gpu:
            self._load_prior()
        else:
            threading.Thread(target=self._load_prior, daemon=True).start()

    def _load_prior(self) -> None:
        try:
            prior = self._load()
            if self._measurable:  # the first step of all is slow: nobody should wait for it
                measured_step_time(self.prior_name, prior, "sds")
            self._prior.set_result(prior)
        except Exception as error:  # of whatever kind, all who wait for the prior must hear of it
            if not isinstance(error, UserError):
                traceback.print_exc()
            print(f"the model cannot be loaded: {error}", file=sys.stderr, flush=True)
            # Visitors are not told where on this machine it was looked for.
            self._prior.set_result("the model cannot be loaded; the app's log says why")

    def _measured(self, objective: str) -> float:
        return measured_step_time(self.prior_name, self.prior(), objective)

    def prior(self, timeout: float | None = None) -> ImagePrior:
        """The prior, once it is loaded.

        Raises:
            TimeoutError: It takes longer than `timeout` seconds.
            UserError: It cannot be loaded.
        """
        loaded = self._prior.result(timeout)
        if isinstance(loaded, str):
            raise UserError(loaded)
        return loaded

    def estimate(self, objectives: Sequence[str], steps: int) -> float | None:
        """Seconds that a run will take; None where a step cannot be measured and nothing like it was made."""
        self.prior()
        seconds = self._times.total(objectives, steps)
        return seconds if seconds is None or not self._zero_gpu else GPU_START_S + seconds

    def gpu_seconds(self, specs: Sequence[Spec], start: Start) -> int:
        """Seconds for which a run needs a GPU: GPU_MARGIN times what is expected, `max_seconds` at most, and
        also where nothing like it was made so far.
        """
        expected = self.estimate([spec.objective for spec in specs], specs[0].config.steps)
        return math.ceil(min(self._max_seconds, GPU_MARGIN * (expected or self._max_seconds)))

    def make(self, request: ImageRequest, session: Session) -> Iterator[Update]:
        """Updates until the request is done or the session's `stop` is set; the last one has files.

        Results that are cached come at once. Snapshots made until something went wrong are kept.

        Raises:
            UserError: It would take too long, the prior cannot read a prompt, or a gradient is not finite.
        """
        made: list[Snapshot] = []
        error: Exception | None = None
        with session.run():
            if (cached := self._cache.get(request.key)) is not None:
                self._cache.move_to_end(request.key)
                yield _update(request, session, cached.snapshots, cached)
                return
            self._check_time(request)
            with closing(self._optimise(request.specs, request.start)) as running:
                try:
                    for snapshot in running:
                        if isinstance(snapshot, str):
                            raise UserError(snapshot)
                        made.append(snapshot)
                        yield _update(request, session, made)
                        if session.stop.is_set():
                            break
                except Exception as raised:  # also a GPU that is taken away, as the time asked for was over
                    error = raised
                    self._times.forget(request.objectives)
            if made:
                result = result_of(request, made)
                if made[-1].done == made[-1].steps:
                    self._learn(request, result)
                yield _update(request, session, made, result)
        if error is not None:
            raise error

    def _snapshots(
        self, specs: Sequence[Spec], start: Float[Tensor, "1 3 h w"] | None
    ) -> Generator[Snapshot | str, None, None]:
        try:
            yield from snapshots(specs, self.prior(), start)
        except UserError as error:  # as its message: of an exception only the name would leave the process
            yield str(error)

    def _check_time(self, request: ImageRequest) -> None:
        seconds = self.estimate(request.objectives, request.specs[0].config.steps)
        if seconds is not None and seconds > self._max_seconds:
            raise UserError(
                f"that would take about {duration(seconds)}, and others wait; take fewer steps or "
                f"a faster objective, so that it is at most {duration(self._max_seconds)}"
            )

    def _learn(self, request: ImageRequest, result: Result) -> None:
        """Remember the times and the result of a finished run."""
        if len(request.objectives) == 1:
            self._times.learn(request.objectives[0], result.snapshots)
        self._cache[request.key] = result
        if len(self._cache) > CACHE_SIZE:
            self._cache.popitem(last=False)


def _update(
    request: ImageRequest, session: Session, made: Sequence[Snapshot], result: Result | None = None
) -> Update:
    """An update with a new preview, and with the result's files where there is one."""
    files, preview = result.write(session.folder, request.stem) if result else None, None
    with auxiliary("the preview"):
        preview = session.new_file(png(grid(made[-1].images, request.objectives)), "png")
    return Update(made, preview, files)
