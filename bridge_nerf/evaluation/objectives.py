"""The paper's image table in miniature: objectives from the same prompts and seeds, seen by the judge."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.evaluation.figures import HELD_OUT_SEED, features, held_out_images, judged, sampled
from bridge_nerf.evaluation.making import Made, Make, Wanted, in_batches
from bridge_nerf.evaluation.statistics import frechet_distance, share
from bridge_nerf.photometry import saturation
from bridge_nerf.toybox.captions import random_colour
from bridge_nerf.toybox.dataset import make_shard
from bridge_nerf.toybox.judge import Judge
from bridge_nerf.toybox.words import OBJECTS, article

DDIM_STEPS, DDIM_GUIDANCE = 50, 4.0
"""Of the samples that stand beside the objectives."""

PAPER: Mapping[str, tuple[float, float]] = {
    "sds": (86.02, 4.48),
    "nfsd": (91.70, 7.20),
    "csd": (89.96, 6.21),
    "vsd": (59.22, 16.02),
    "vsd-bridge": (55.65, 21.46),
    "bridge": (67.89, 4.48),
}
"""(COCO-FID, minutes an image) of the paper's table, as its project page has it. Prior, prompts and feature
network are others there: only the order can be compared."""


@dataclass(frozen=True)
class Row:
    """One method's figures."""

    method: str
    count: int
    """Images."""
    toy: float
    """Share in which the judge sees the prompt's toy."""
    colour: float
    """Share in which it sees the prompt's colour, of those whose prompt names one."""
    both: float
    """Share in which everything that the prompt names is right."""
    clean: float
    """Mean probability that the image has no flaw."""
    frechet: float
    """Frechet distance of the judge's features to those of the world's clean images."""
    saturation: float
    """Mean HSV saturation."""
    calls: float
    """Rows that the network answered for an image."""
    seconds: float
    """For an image."""
    paper_fid: float | None
    """The paper's COCO-FID for this method, where it has one; see PAPER."""
    paper_minutes: float | None
    """The paper's time for an image."""


def asked(count: int, seed: int) -> list[tuple[str, str | None]]:
    """(toy, colour) of `count` prompts: every toy in turn, its colour at random."""
    r = np.random.default_rng(seed)
    return [(toy, random_colour(toy, r)) for toy in (OBJECTS[k % len(OBJECTS)] for k in range(count))]


def wanted(count: int, seed: int) -> list[Wanted]:
    """The same images for every objective."""
    nouns = [f"{colour} {toy}" if colour else toy for toy, colour in asked(count, seed)]
    return [Wanted((article(noun),), seed + k) for k, noun in enumerate(nouns)]


def objective_rows(
    make: Make, prior: ImagePrior, judge: Judge, objectives: Sequence[str], count: int, batch: int, seed: int
) -> Iterator[tuple[Row, Float[Tensor, "n 3 h w"]]]:
    """A row and its images for the world itself, for samples of the prior (DDIM), and each objective."""
    pairs, world = asked(count, seed), held_out_images(500)
    reference = world.images.float() / 255
    known = features(judge, reference)
    other = make_shard(HELD_OUT_SEED + 3, 500, clean=True)
    images, shown = Made(other.images.float() / 255, 0.0, 0), [(s.toy, s.colour) for s in other.scenes]
    yield row("world", images, shown, judge, known)
    yield row("ddim", _ddim(prior, [w.prompts[0] for w in wanted(count, seed)], seed), pairs, judge, known)
    for objective in objectives:
        yield row(objective, in_batches(make, objective, wanted(count, seed), batch), pairs, judge, known)


def row(
    method: str,
    made: Made,
    pairs: Sequence[tuple[str, str | None]],
    judge: Judge,
    known: Float[Tensor, "m d"],
) -> tuple[Row, Float[Tensor, "n 3 h w"]]:
    """The figures of some images, of which `pairs` says what they should show."""
    verdict, n = judged(judge, made.images), len(pairs)
    toys = [seen == toy for seen, (toy, _) in zip(verdict.toys, pairs, strict=True)]
    colours = [None if c is None else seen == c for seen, (_, c) in zip(verdict.colours, pairs, strict=True)]
    return Row(
        method,
        n,
        share(toys),
        share([hit for hit in colours if hit is not None]),
        share([toy and colour is not False for toy, colour in zip(toys, colours, strict=True)]),
        verdict.clean.mean().item(),
        frechet_distance(features(judge, made.images), known),
        saturation(made.images).mean().item(),
        made.calls / n,
        made.seconds / n,
        *PAPER.get(method, (None, None)),
    ), made.images


def _ddim(prior: ImagePrior, prompts: Sequence[str], seed: int) -> Made:
    begin = time.perf_counter()
    images = sampled(prior, prompts, seed, steps=DDIM_STEPS, guidance_scale=DDIM_GUIDANCE)
    rows = 2 * DDIM_STEPS * len(prompts)
    return Made(images, time.perf_counter() - begin, rows)
