"""Painting to real, measured: how clean a painting becomes, and how much of it is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure as ssim

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.evaluation.figures import judged
from bridge_nerf.evaluation.samples import Samples, TableOptions, generated
from bridge_nerf.evaluation.sampling import sdedit
from bridge_nerf.evaluation.statistics import share
from bridge_nerf.images.spec import Spec, Subject
from bridge_nerf.photometry import gaussian, luma
from bridge_nerf.seeding import generator
from bridge_nerf.toybox.captions import Scene
from bridge_nerf.toybox.dataset import random_scenes
from bridge_nerf.toybox.flaws import painted
from bridge_nerf.toybox.judge import Judge
from bridge_nerf.toybox.words import OBJECTS, article

STRENGTHS = (0.3, 0.45, 0.6, 0.75)
"""Times that SDEdit starts from, as shares of T."""
LAYOUT = 3.0
"""Standard deviation of the blur, in pixels, that leaves an image's layout."""


@dataclass(frozen=True, eq=False)
class Painting:
    """An image of the world as a painting, and what it shows."""

    image: Float[Tensor, "3 h w"]
    scene: Scene


@dataclass(frozen=True)
class PaintingRow:
    """The figures of one method on the paintings of one filter."""

    filter: str
    method: str
    count: int
    clean: float
    """Mean probability that the image has no flaw and is not a painting."""
    gain: float
    """`clean` minus that of the paintings themselves."""
    kept: float
    """Share in which the judge sees the painting's toy."""
    layout: float
    """Mean structural similarity of the low frequencies to the painting's."""
    together: float
    """Mean of clean, kept and layout."""
    seconds: float
    """Seconds for an image."""


def dabs(x: Float[Tensor, "3 h w"], strength: float, r: np.random.Generator) -> Float[Tensor, "3 h w"]:
    """A painterly filter that no prior was shown: oval dabs of one colour each (after Haeberli 1990)."""
    size = x.shape[-1]
    y, across = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    canvas, soft = gaussian(x, 1.5 * size / 64), gaussian(x, 0.7 * size / 64)
    for _ in range(round(10 * size)):
        i, j = (int(k) for k in r.integers(0, size, 2))
        long, short = (1.6 + 1.4 * strength) * size / 64, (0.8 + 0.5 * strength) * size / 64
        angle = r.uniform(0, np.pi)
        along = (y - i) * np.sin(angle) + (across - j) * np.cos(angle)
        off = (across - j) * np.sin(angle) - (y - i) * np.cos(angle)
        inside = (along / long) ** 2 + (off / short) ** 2 <= 1
        colour = soft[:, i, j] * (1 + 0.12 * float(r.normal()))
        canvas = torch.where(inside, colour[:, None, None], canvas)
    return canvas.clamp(0, 1)


FILTERS: dict[str, Callable[[Tensor, float, np.random.Generator], Tensor]] = {
    "own": painted,
    "unseen": dabs,
}
"""The world's own painterly filter, whose images the prior calls paintings, and one that it never saw."""


def paintings(name: str, count: int, seed: int, size: int = 64) -> list[Painting]:
    """Held-out paintings by one of FILTERS, every toy in turn; painting k is a function of (seed, k)."""
    made = []
    for k in range(count):
        r = np.random.default_rng([seed, k])
        image, scene = next(random_scenes(r, size, toy=OBJECTS[k % len(OBJECTS)], clean=True))
        made.append(Painting(FILTERS[name](image, 0.7, r), scene))
    return made


def prompt_of(scene: Scene) -> str:
    """The prompt for what a painting shows."""
    return article(f"{scene.colour} {scene.toy}" if scene.colour else scene.toy)


def painting_rows(
    patterns: Sequence[Spec], prior: ImagePrior, judge: Judge, options: TableOptions
) -> Iterator[tuple[PaintingRow, Float[Tensor, "n 3 h w"]]]:
    """Rows with their images, for each filter: the paintings themselves, SDEdit, and each objective.

    Args:
        patterns: One for each objective; their subjects are replaced.
    """
    for name in FILTERS:
        given = paintings(name, options.count, options.seed)
        subjects = [Subject((prompt_of(p.scene),), options.seed + k) for k, p in enumerate(given)]
        start = torch.stack([p.image for p in given])
        rate = partial(_row, name, given, judge)
        yield rate("painting", Samples(start))
        for strength in STRENGTHS:
            yield rate(f"sdedit {strength:g}", _sdedit(prior, subjects, start, strength))
        for pattern in patterns:
            yield rate(pattern.objective, generated(pattern, prior, subjects, options, start))


def _row(
    name: str, given: Sequence[Painting], judge: Judge, method: str, samples: Samples
) -> tuple[PaintingRow, Float[Tensor, "n 3 h w"]]:
    start = torch.stack([p.image for p in given])
    verdict = judged(judge, samples.images)
    clean = verdict.clean.mean().item()
    kept = share([seen == p.scene.toy for seen, p in zip(verdict.toys, given, strict=True)])
    layout = layout_kept(samples.images, start)
    gain = clean - judged(judge, start).clean.mean().item()
    mean, seconds = (clean + kept + layout) / 3, samples.seconds / len(given)
    return PaintingRow(name, method, len(given), clean, gain, kept, layout, mean, seconds), samples.images


def layout_kept(one: Float[Tensor, "n 3 h w"], other: Float[Tensor, "n 3 h w"]) -> float:
    """Mean structural similarity (Wang et al. 2004) of the blurred luma of two sets of images, pair by pair;
    pixels whose window of 11 x 11 crosses the border do not count, as there.
    """
    other = F.interpolate(other, one.shape[-2:], mode="bilinear", antialias=True)
    _, similarity = ssim(_blurred(one), _blurred(other), data_range=1.0, return_full_image=True)
    return torch.as_tensor(similarity)[..., 5:-5, 5:-5].mean().item()


def _blurred(images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 1 h w"]:
    sigma = LAYOUT * images.shape[-1] / 64
    return torch.stack([gaussian(luma(image), sigma) for image in images])


def _sdedit(
    prior: ImagePrior, subjects: Sequence[Subject], start: Float[Tensor, "n 3 h w"], strength: float
) -> Samples:
    begin = time.perf_counter()
    rngs = [generator(subject.seed, "sdedit") for subject in subjects]
    images = sdedit(prior, start, [s.prompts[0] for s in subjects], strength, generators=rngs)
    return Samples(images.float().cpu(), time.perf_counter() - begin)
