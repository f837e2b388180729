"""Illusions, measured: how often each reading is recognised under its transform."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.evaluation.figures import judged
from bridge_nerf.evaluation.samples import TableOptions, generated
from bridge_nerf.evaluation.statistics import share
from bridge_nerf.images.spec import Spec, Subject
from bridge_nerf.toybox.judge import Judge
from bridge_nerf.toybox.words import article


@dataclass(frozen=True)
class IllusionRow:
    """The figures of a pair of toys in one image, upright and upside down."""

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
    """Seconds for an image."""


def illusion_rows(
    pattern: Spec, prior: ImagePrior, judge: Judge, pairs: Sequence[tuple[str, str]], options: TableOptions
) -> Iterator[tuple[IllusionRow, Float[Tensor, "n 3 h w"]]]:
    """A row for each pair, with its images upright and then upside down.

    Args:
        pattern: Its subjects are replaced; the second of its transforms is upside down.
        pairs: The toys upright and upside down.
    """
    count = options.count
    for upright, turned in pairs:
        prompts = article(upright), article(turned)
        subjects = [Subject(prompts, options.seed + k) for k in range(count)]
        samples = generated(pattern, prior, subjects, options)
        upside_down = torch.rot90(samples.images, 2, (-2, -1))
        first = [seen == upright for seen in judged(judge, samples.images).toys]
        second = [seen == turned for seen in judged(judge, upside_down).toys]
        both = share([a and b for a, b in zip(first, second, strict=True)])
        figures = share(first), share(second), both, samples.seconds / count
        row = IllusionRow(upright, turned, pattern.objective, count, *figures)
        yield row, torch.cat([samples.images, upside_down])
