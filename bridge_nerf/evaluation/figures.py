"""The toybox's figures: how well the judge judges, and what the prior draws when asked.

Every figure is measured here and now; the goals beside them are the ones that the toybox was designed for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.evaluation.sampling import ddim
from bridge_nerf.evaluation.statistics import Interval, frechet_distance, share
from bridge_nerf.photometry import BACKGROUNDS
from bridge_nerf.seeding import generator
from bridge_nerf.toybox.captions import random_colour
from bridge_nerf.toybox.dataset import Shard, make_shard
from bridge_nerf.toybox.judge import Judge, Verdict
from bridge_nerf.toybox.words import FLAWS, HELD_OUT, OBJECTS, QUALITIES, VIEWS, article

HELD_OUT_SEED = 900_001
"""Seed of the images that neither the prior nor the judge was trained on."""


@dataclass(frozen=True)
class Figure:
    """One measured number, its goal and how many images or scenes it rests on."""

    name: str
    value: float
    goal: str
    count: int
    details: str = ""
    interval: Interval | None = None
    """95 % interval of the value, where one was measured."""

    def line(self) -> str:
        """The figure as a row of text."""
        row = f"{self.name:<58} {self.value:8.3f}   goal {self.goal:<9} N = {self.count:<5} "
        if self.interval is not None:
            row += "95 % from {:.3f} to {:.3f}{}".format(*self.interval, "; " if self.details else "")
        return (row + self.details).rstrip()


def clean_prompt(toy: str, colour: str | None, view: str, background: str) -> str:
    """A full caption with the descriptors of a clean image."""
    noun = article(f"{colour} {toy}" if colour else toy)
    return ", ".join([noun, view, f"{background} background", *QUALITIES])


def random_view_word(r: np.random.Generator) -> str:
    """A view word as often as the world shows it."""
    return VIEWS[int(r.choice(4, p=(0.215, 0.43, 0.215, 0.14)))]


BATCH = 32
"""Images that are drawn together."""


def sampling_seconds(prior: ImagePrior, prompts: Sequence[str], steps: int) -> float:
    """The seconds that `sampled` takes, about: those of two steps of the first batch, and as many for all."""
    some, begin = prompts[:BATCH], time.perf_counter()
    ddim(prior, some, steps=2, generators=[torch.Generator() for _ in some])
    return (time.perf_counter() - begin) / 2 * steps * len(prompts) / len(some)


def sampled(
    prior: ImagePrior, prompts: Sequence[str], seed: int, batch: int = BATCH, **options
) -> Float[Tensor, "n 3 h w"]:
    """`ddim` in batches; the noise of prompt k is a function of (seed, k) whatever the batch."""
    parts = []
    for start in range(0, len(prompts), batch):
        some = prompts[start : start + batch]
        rngs = [generator(seed, "samples", start + k) for k in range(len(some))]
        parts.append(ddim(prior, some, generators=rngs, **options).float().cpu())
    return torch.cat(parts)


def judged(judge: Judge, images: Float[Tensor, "n 3 h w"], batch: int = 256) -> Verdict:
    """The judge's verdict on many images."""
    parts = [judge(images[k : k + batch]) for k in range(0, len(images), batch)]
    return Verdict(
        *(torch.cat([getattr(p, name) for p in parts]) for name in ("toy", "colour", "view", "flaws"))
    )


def features(judge: Judge, images: Float[Tensor, "n 3 h w"], batch: int = 256) -> Float[Tensor, "n d"]:
    """The judge's features of many images."""
    return torch.cat([judge.features(images[k : k + batch]) for k in range(0, len(images), batch)])


def held_out_images(renders: int, clean: bool = True) -> Shard:
    """Images of the world that no training saw."""
    return make_shard(HELD_OUT_SEED + (0 if clean else 1), renders, clean=clean)


def judge_figures(judge: Judge, renders: int = 1000) -> list[Figure]:
    """The judge on held-out images: the toy on clean ones, the flaw on flawed ones."""
    clean, mixed = held_out_images(renders), held_out_images(renders, clean=False)
    figures = []
    for shard, name, goal in (
        (clean, "judge: toy on held-out clean images", ">= 0.99"),
        (mixed, "judge: toy, flawed ones too", "-"),
    ):
        verdict = judged(judge, shard.images.float() / 255)
        hits = [seen == scene.toy for seen, scene in zip(verdict.toys, shard.scenes, strict=True)]
        figures.append(Figure(name, share(hits), goal, len(hits)))
    verdict = judged(judge, mixed.images.float() / 255)
    one = [k for k, scene in enumerate(mixed.scenes) if len(scene.flaws) == 1]
    seen = {flaw: verdict.sees(flaw) for flaw in {next(iter(mixed.scenes[k].flaws)) for k in one}}
    hits = [bool(seen[next(iter(mixed.scenes[k].flaws))][k]) for k in one]
    return [*figures, Figure("judge: the flaw, on images with a single one", share(hits), "-", len(hits))]


def object_figures(
    prior: ImagePrior, judge: Judge, per_toy: int = 24, seed: int = 1, **options
) -> list[Figure]:
    """Samples of clean prompts: the toy drawn right, mean and worst, colour, view; Frechet distance to the
    world.
    """
    r = np.random.default_rng(seed)
    words = [
        (toy, random_colour(toy, r), random_view_word(r), list(BACKGROUNDS)[r.integers(4)])
        for toy in OBJECTS
        for _ in range(per_toy)
    ]
    images = sampled(prior, [clean_prompt(*w) for w in words], seed, **options)
    verdict, n = judged(judge, images), len(words)
    right = [seen == w[0] for seen, w in zip(verdict.toys, words, strict=True)]
    by_toy = _by_name(right, [w[0] for w in words])
    worst = min(by_toy, key=lambda toy: by_toy[toy])
    below = _listed({toy: value for toy, value in by_toy.items() if value < 0.95})
    colours = [seen == w[1] for seen, w in zip(verdict.colours, words, strict=True) if w[1]]
    views = [seen == w[2] for seen, w in zip(verdict.views, words, strict=True)]
    world, name = held_out_images(1000), "prior: Frechet distance of judge features to the world"
    distance = frechet_distance(features(judge, images), features(judge, world.images.float() / 255))
    return [
        Figure("prior: toy drawn right, mean", share(right), ">= 0.95", n, below and f"below 0.95: {below}"),
        Figure("prior: toy drawn right, worst", by_toy[worst], ">= 0.85", per_toy, worst),
        Figure("prior: colour drawn right", share(colours), "-", len(colours)),
        Figure("prior: view drawn right", share(views), "-", n),
        Figure(name, distance, "-", n, f"against {len(world)} images"),
    ]


def flaw_figures(
    prior: ImagePrior, judge: Judge, per_flaw: int = 20, seed: int = 2, **options
) -> list[Figure]:
    """Samples of prompts that name one flaw: the share in which the judge sees it."""
    r = np.random.default_rng(seed)
    names = [flaw for flaw in FLAWS for _ in range(per_flaw)]
    prompts = []
    for flaw in names:
        toy = OBJECTS[r.integers(len(OBJECTS))]
        colour = random_colour(toy, r)
        prompts.append(f"{article(f'{colour} {toy}' if colour else toy)}, {random_view_word(r)}, {flaw}")
    verdict = judged(judge, sampled(prior, prompts, seed, **options))
    hits = [bool(verdict.sees(flaw)[k]) for k, flaw in enumerate(names)]
    details = _listed(_by_name(hits, names))
    return [Figure("prior: named flaw obeyed", share(hits), ">= 0.90", len(hits), details)]


def held_out_figures(
    prior: ImagePrior, judge: Judge, per_pair: int = 20, seed: int = 3, **options
) -> list[Figure]:
    """Samples of (toy, colour) pairs never shown in training: both drawn right."""
    r = np.random.default_rng(seed)
    pairs = [pair for pair in sorted(HELD_OUT) for _ in range(per_pair)]
    prompts = [
        clean_prompt(toy, colour, random_view_word(r), list(BACKGROUNDS)[r.integers(4)])
        for toy, colour in pairs
    ]
    verdict = judged(judge, sampled(prior, prompts, seed, **options))
    hits = [
        (toy, colour) == pair for toy, colour, pair in zip(verdict.toys, verdict.colours, pairs, strict=True)
    ]
    details = _listed(_by_name(hits, [f"{colour} {toy}" for toy, colour in pairs]))
    return [
        Figure("prior: held-out (toy, colour) pairs drawn right", share(hits), ">= 0.80", len(hits), details)
    ]


def _by_name(hits: Sequence[bool], names: Sequence[str]) -> dict[str, float]:
    """The share of hits for each name, in the order in which the names first occur."""
    return {
        name: share([hit for hit, other in zip(hits, names, strict=True) if other == name])
        for name in dict.fromkeys(names)
    }


def _listed(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in shares.items())
