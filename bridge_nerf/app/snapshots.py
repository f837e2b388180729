"""Snapshots of images while they are optimised, and tables of their measurements."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8
from torch import Tensor

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.images.spec import Spec
from bridge_nerf.photometry import saturation
from bridge_nerf.pixels import to_bytes


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All images of a request after some steps, as plain arrays and numbers: it may leave a process."""

    done: int
    """Steps made so far."""
    steps: int
    seconds: float
    """Time since the start."""
    images: UInt8[np.ndarray, "n h w 3"]
    saturation: tuple[float, ...]
    """HSV saturation, mean over each image."""
    pull: tuple[float, ...]
    """Root mean square of target minus source; empty before the first step."""

    @property
    def seconds_left(self) -> float:
        """Time that the remaining steps will take at the pace so far."""
        return self.seconds / self.done * (self.steps - self.done) if self.done else 0.0


def snapshots(
    specs: Sequence[Spec], prior: ImagePrior, start: Float[Tensor, "1 3 h w"] | None = None
) -> Generator[Snapshot, None, None]:
    """Optimise in lock step, with snapshots before the first step, now and then, and at the end.

    Args:
        specs: All of one size and with equally many steps.

    Raises:
        UserError: The prior cannot read a prompt, or a gradient is not finite.
    """
    from bridge_nerf.images.generation import generate

    for progress in generate(specs, prior, start):
        if progress.done <= 1 or progress.frame_due:
            images = progress.images()
            yield Snapshot(
                progress.done,
                progress.steps,
                progress.seconds,
                to_bytes(images),
                tuple(saturation(images).mean((1, 2)).tolist()),
                tuple(metrics["pull"] for metrics in progress.metrics if metrics),
            )


def measurements(made: Sequence[Snapshot], objectives: Sequence[str]) -> pd.DataFrame:
    """Step, objective, saturation and pull (NaN before the first step) for each snapshot and objective."""
    rows = [
        (snapshot.done, *row)
        for snapshot in made
        for row in zip(
            objectives, snapshot.saturation, snapshot.pull or (np.nan,) * len(objectives), strict=True
        )
    ]
    return pd.DataFrame(rows, columns=["step", "objective", "saturation", "pull"])
