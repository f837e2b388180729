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
from bridge_nerf.evaluation.samples import Samples, TableOptions, generated
from bridge_nerf.evaluation.statistics import frechet_distance, share
from bridge_nerf.images.spec import Spec, Subject
from bridge_nerf.photometry import saturation
from bridge_nerf.toybox.captions import random_colour
from bridge_nerf.toybox.dataset import make_shard
from bridge_nerf.toybox.judge import Judge
from bridge_nerf.toybox.words import OBJECTS, article

DDIM_STEPS, DDIM_GUIDANCE = 50, 4.0
"""Network calls and guidance of the samples that stand beside the objectives."""

PAPER: Mapping[str, tuple[float, float]] = {
    "sds": (86.02, 4.48),
    "nfsd": (91.70, 7.20),
    "csd": (89.96, 6.21),
    "vsd": (59.22, 16.02),
    "vsd-bridge": (55.65, 21.46),
    "bridge": (67.89, 4.48),
}
"""Objective -> (COCO-FID, minutes an image) of the paper's table, as its project page has it. Prior, prompts
and feature network are others there: only the order can be compared."""


Pair = tuple[str, str | None]
"""A toy and its colour, where it has one."""


@dataclass(frozen=True)
class Row:
    """The figures of one method: an objective, or what stands beside it."""

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
    """Seconds for an image."""
    paper_fid: float | None
    """The paper's COCO-FID for this method, where it has one; see PAPER."""
    paper_minutes: float | None
    """The paper's time for an image."""


def prompted(count: int, seed: int) -> list[Pair]:
    """The pairs of `count` prompts: every toy in turn, its colour at random."""
    r = np.random.default_rng(seed)
    return [(toy, random_colour(toy, r)) for toy in (OBJECTS[k % len(OBJECTS)] for k in range(count))]


def subjects_of(pairs: Sequence[Pair], seed: int) -> list[Subject]:
    """A subject for each (toy, colour), the same for every objective."""
    nouns = [f"{colour} {toy}" if colour else toy for toy, colour in pairs]
    return [Subject((article(noun),), seed + k) for k, noun in enumerate(nouns)]


def objective_rows(
    patterns: Sequence[Spec], prior: ImagePrior, judge: Judge, options: TableOptions
) -> Iterator[tuple[Row, Float[Tensor, "n 3 h w"]]]:
    """A row and its images for the world itself, for samples of the prior (DDIM), and each objective.

    Args:
        patterns: One for each objective; their subjects are replaced.
    """
    pairs, world = prompted(options.count, options.seed), held_out_images(500)
    subjects = subjects_of(pairs, options.seed)
    known = features(judge, world.images.float() / 255)
    other = make_shard(HELD_OUT_SEED + 3, 500, clean=True)
    shown = [(scene.toy, scene.colour) for scene in other.scenes]
    yield row("world", Samples(other.images.float() / 255), shown, judge, known)
    yield row("ddim", _ddim(prior, [s.prompts[0] for s in subjects], options.seed), pairs, judge, known)
    for pattern in patterns:
        samples = generated(pattern, prior, subjects, options)
        yield row(pattern.objective, samples, pairs, judge, known)


def row(
    method: str,
    samples: Samples,
    pairs: Sequence[Pair],
    judge: Judge,
    known: Float[Tensor, "m d"],
) -> tuple[Row, Float[Tensor, "n 3 h w"]]:
    """The figures of some images, and the images.

    Args:
        pairs: The toy and the colour that each image should show.
        known: The judge's features of the world's images.
    """
    verdict, n = judged(judge, samples.images), len(pairs)
    toys = [seen == toy for seen, (toy, _) in zip(verdict.toys, pairs, strict=True)]
    colours = [None if c is None else seen == c for seen, (_, c) in zip(verdict.colours, pairs, strict=True)]
    return Row(
        method,
        n,
        share(toys),
        share([hit for hit in colours if hit is not None]),
        share([toy and colour is not False for toy, colour in zip(toys, colours, strict=True)]),
        verdict.clean.mean().item(),
        frechet_distance(features(judge, samples.images), known),
        saturation(samples.images).mean().item(),
        samples.rows / n,
        samples.seconds / n,
        *PAPER.get(method, (None, None)),
    ), samples.images


def _ddim(prior: ImagePrior, prompts: Sequence[str], seed: int) -> Samples:
    begin = time.perf_counter()
    images = sampled(prior, prompts, seed, steps=DDIM_STEPS, guidance_scale=DDIM_GUIDANCE)
    return Samples(images, time.perf_counter() - begin, 2 * DDIM_STEPS * len(prompts))
