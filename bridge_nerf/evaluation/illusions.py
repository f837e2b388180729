"""Illusions, measured: is each reading recognised in its view?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.evaluation.figures import judged
from bridge_nerf.evaluation.making import Make, Wanted, in_batches
from bridge_nerf.evaluation.statistics import share
from bridge_nerf.toybox.judge import Judge
from bridge_nerf.toybox.words import article


@dataclass(frozen=True)
class IllusionRow:
    """How often a pair of toys is read in one image, upright and upside down."""

    upright: str
    turned: str
    objective: str
    count: int
    first: float
    """Share of images read as the first toy upright."""
    second: float
    """Share read as the second toy upside down."""
    both: float
    """Share read as both."""
    seconds: float
    """For an image."""


def illusion_rows(
    make: Make,
    judge: Judge,
    pairs: Sequence[tuple[str, str]],
    objective: str,
    count: int,
    batch: int,
    seed: int,
) -> Iterator[tuple[IllusionRow, Float[Tensor, "n 3 h w"]]]:
    """A row for each pair, with its images upright and then upside down."""
    for upright, turned in pairs:
        wanted = [Wanted((article(upright), article(turned)), seed + k) for k in range(count)]
        made = in_batches(make, objective, wanted, batch)
        upside_down = torch.rot90(made.images, 2, (-2, -1))
        first = [seen == upright for seen in judged(judge, made.images).toys]
        second = [seen == turned for seen in judged(judge, upside_down).toys]
        both = share([a and b for a, b in zip(first, second, strict=True)])
        seconds = made.seconds / count
        row = IllusionRow(upright, turned, objective, count, share(first), share(second), both, seconds)
        yield row, torch.cat([made.images, upside_down])
