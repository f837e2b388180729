"""The optimisation itself: one image, or several that race from one start, step by step."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.images.callbacks import FRAMES
from bridge_nerf.images.module import ImageModule, stream
from bridge_nerf.images.spec import Spec
from bridge_nerf.photometry import saturation
from bridge_nerf.pixels import to_bytes


@dataclass(frozen=True, eq=False)
class Shot:
    """All images of a race at one moment. Plain arrays and numbers: it may have to leave a process."""

    done: int
    """Steps made so far."""
    steps: int
    seconds: float
    """Since the start."""
    images: UInt8[np.ndarray, "n h w 3"]
    saturation: tuple[float, ...]
    """HSV, mean over the image."""
    pull: tuple[float, ...]
    """Root mean square of target minus source; none before the first step."""

    @property
    def left(self) -> float:
        """Seconds that the rest will take at the pace so far."""
        return self.seconds / self.done * (self.steps - self.done) if self.done else 0.0


def race(
    specs: Sequence[Spec], prior: ImagePrior, start: Float[Tensor, "1 3 h w"] | None = None
) -> Generator[Shot, None, None]:
    """Optimise all specifications in lock step; shots before the first step, now and then, and at the end.

    Stop by not asking on.

    Args:
        specs: All of one size and with equally many steps.

    Raises:
        UserError: The prior cannot read a prompt, or a gradient is not finite.
    """
    begun, steps = time.perf_counter(), specs[0].recipe.steps
    modules = [ImageModule(spec, prior, start) for spec in specs]
    yield _shot(modules, 0, steps, begun)
    with ExitStack() as stack:
        courses = [stack.enter_context(closing(stream(module))) for module in modules]
        for done, _ in enumerate(zip(*courses, strict=True), start=1):
            if done == 1 or done % max(1, steps // FRAMES) == 0 or done == steps:
                yield _shot(modules, done, steps, begun)


def _shot(modules: Sequence[ImageModule], done: int, steps: int, begun: float) -> Shot:
    images = torch.cat([module.images() for module in modules])
    return Shot(
        done,
        steps,
        time.perf_counter() - begun,
        to_bytes(images),
        tuple(saturation(images).mean((1, 2)).tolist()),
        tuple(module.metrics["pull"] for module in modules) if done else (),
    )


def numbers(shots: Sequence[Shot], objectives: Sequence[str]) -> bytes:
    """CSV: a row for each objective and shot."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["step", "objective", "saturation", "pull"])
    for shot in shots:
        pulls = shot.pull or ("",) * len(objectives)
        for row in zip(objectives, shot.saturation, pulls, strict=True):
            writer.writerow([shot.done, *row])
    return text.getvalue().encode()
