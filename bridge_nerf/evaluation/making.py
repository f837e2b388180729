"""What a measurement asks to be made, and what it gets: how images are optimised is not its business."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Wanted:
    """An image to be made: a prompt for each view, a seed, and an image to start from."""

    prompts: tuple[str, ...]
    seed: int
    start: Float[Tensor, "3 h w"] | None = None


@dataclass(frozen=True, eq=False)
class Made:
    """Images (RGB in [0, 1]), and what they cost together."""

    images: Float[Tensor, "n 3 h w"]
    seconds: float
    calls: int
    """Rows that the prior's network answered."""

    @staticmethod
    def cat(parts: Sequence[Made]) -> Made:
        """All images, and the whole cost."""
        images = torch.cat([part.images for part in parts])
        return Made(images, sum(part.seconds for part in parts), sum(part.calls for part in parts))


Make = Callable[[str, Sequence[Wanted]], Made]
"""(objective, what is wanted) -> what was made, as one batch."""


def in_batches(make: Make, objective: str, wanted: Sequence[Wanted], batch: int) -> Made:
    """Everything wanted, `batch` images at a time."""
    return Made.cat([make(objective, some) for some in batches(wanted, batch)])


def batches(wanted: Sequence[Wanted], size: int) -> Iterator[Sequence[Wanted]]:
    """The wanted images in groups of `size`, the last one smaller."""
    for start in range(0, len(wanted), size):
        yield wanted[start : start + size]
