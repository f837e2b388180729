"""Captioned images of the world, made by seed: image k of a shard is a function of (seed, k) alone."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from bridge_nerf.devices import cores
from bridge_nerf.errors import UserError
from bridge_nerf.files import atomic
from bridge_nerf.photometry import BACKGROUNDS
from bridge_nerf.reading import read_arrays
from bridge_nerf.toybox.captions import Scene, random_colour, random_flaws, random_toy
from bridge_nerf.toybox.flaws import corrupt
from bridge_nerf.toybox.objects import build
from bridge_nerf.toybox.render import over, random_view, render
from bridge_nerf.toybox.words import COLOURS, FLAWS, OBJECTS, VIEWS


@dataclass(frozen=True)
class Shard:
    """Images (RGB bytes) and what they show."""

    images: UInt8[Tensor, "n 3 size size"]
    scenes: tuple[Scene, ...]

    def __len__(self) -> int:
        return len(self.scenes)

    def save(self, path: Path) -> None:
        """Write as one .npz file."""
        fields = [
            [s.toy, s.colour or "", s.view, s.background, "|".join(sorted(s.flaws))] for s in self.scenes
        ]
        with atomic(path) as file:
            np.savez(file, pictures=self.images.numpy(), scenes=np.array(fields))

    @classmethod
    def load(cls, path: Path) -> Shard:
        """Read what `save` wrote.

        Raises:
            UserError: There is no such file, or it is torn, or holds something else.
        """
        cure = "remove it, and it is made anew"
        data = read_arrays(path, {"pictures": ("u", 4), "scenes": ("U", 2)}, cure)
        try:
            scenes = tuple(_scene(*words) for words in data["scenes"].tolist())
        except (TypeError, ValueError) as error:
            raise UserError(f"{path} is of another world ({error}); {cure}") from None
        images = torch.from_numpy(data["pictures"])
        if images.dtype != torch.uint8 or len(images) != len(scenes):
            raise UserError(f"{path} holds {len(images)} images of {len(scenes)} scenes; {cure}")
        return cls(images, scenes)


def _scene(toy: str, colour: str, view: str, background: str, flaws: str) -> Scene:
    """Raises ValueError for a word that the world does not have."""
    named = frozenset(filter(None, flaws.split("|")))
    known = [(toy, OBJECTS), (view, VIEWS), (background, BACKGROUNDS), (colour, ("", *COLOURS))]
    known += [(flaw, (*FLAWS, "painting")) for flaw in named]
    if odd := [word for word, words in known if word not in words]:
        raise ValueError(f"there is no {odd[0]!r}")
    return Scene(toy, colour or None, view, background, named)


def flaw_strength(flaws: frozenset[str], r: np.random.Generator) -> float:
    """A random strength: 0.3 to 1 for one flaw, so that it is seen; several share, so that the toy is."""
    return r.uniform(0.3, 1.0) * (1.0 if len(flaws) <= 1 else 1.5 / len(flaws))


def random_scenes(
    r: np.random.Generator,
    size: int,
    toy: str | None = None,
    colour: str | None = None,
    clean: bool = False,
    held_out: bool = False,
    loose: float = 0.0,
) -> Iterator[tuple[torch.Tensor, Scene]]:
    """One rendered toy as two captioned images: a second background, and other flaws, cost no second ray.

    `toy` and `colour` fix the content; `clean` leaves out flaws and paintings; `held_out` lets in the
    held-out pairs; a share `loose` of the toys without a flaw gets bad structure, the flaw that no filter can
    add later. Yields RGB in [0, 1], [3, size, size].
    """
    toy = toy or random_toy(r)
    colour = colour or random_colour(toy, r, held_out)
    rgb = COLOURS[colour] if colour else (0.0, 0.0, 0.0)
    first = frozenset() if clean else random_flaws(r)
    if loose and not (clean or first) and r.random() < loose:
        first = frozenset({"bad structure"})
    loosened = "bad structure" in first
    parts = build(toy, rgb, r, loosened=r.uniform(0.07, 0.16) if loosened else 0.0)
    view = random_view(r)
    image = render(parts, view, size, light_azimuth=r.uniform(-180, 180))
    for flaws in (first, first if clean or loosened else random_flaws(r) - {"bad structure"}):
        background = list(BACKGROUNDS)[r.integers(len(BACKGROUNDS))]
        colour_behind = torch.tensor(BACKGROUNDS[background]) + float(r.uniform(-0.02, 0.02))
        scene = Scene(toy, colour, view.word, background, flaws)
        rgb_image = over(image, colour_behind.clamp(0, 1)[:, None, None])
        yield corrupt(rgb_image, flaws, flaw_strength(flaws, r), r), scene


def _chunk(seed: int, start: int, stop: int, size: int, options: dict) -> Shard:
    images, scenes = [], []
    for k in range(start, stop):
        for image, scene in random_scenes(np.random.default_rng([seed, k]), size, **options):
            images.append((image * 255).round().to(torch.uint8))
            scenes.append(scene)
    return Shard(torch.stack(images), tuple(scenes))


def make_shard(seed: int, renders: int, size: int = 64, workers: int | None = None, **options) -> Shard:
    """2 x `renders` images of this seed, made by `workers` processes, by default one a core; `options` are
    those of `random_scenes`.
    """
    edges = [*range(0, renders, 100), renders]
    return concatenate(spread(_chunk, [(seed, a, b, size, options) for a, b in pairwise(edges)], workers))


def spread(work: Callable[..., Any], jobs: Sequence[tuple], workers: int | None = None) -> list[Any]:
    """The answers of `work` to the arguments in `jobs`, in order, by `workers` processes of one thread each;
    None is one a core, and 0, like a single job, stays in this process.

    Raises:
        UserError: One of the processes was killed.
    """
    workers = cores() if workers is None else workers
    if workers <= 1 or len(jobs) == 1:
        return [work(*job) for job in jobs]
    try:
        with ProcessPoolExecutor(workers, initializer=_work_undisturbed) as pool:
            return list(pool.map(work, *zip(*jobs, strict=True)))
    except BrokenProcessPool:
        raise UserError("a process that renders images was killed; the same command goes on") from None


def _work_undisturbed() -> None:
    """Let a process compute with one thread, and leave Ctrl-C to the one that it works for."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def concatenate(shards: Sequence[Shard]) -> Shard:
    """The shards one behind the other."""
    return Shard(torch.cat([s.images for s in shards]), tuple(scene for s in shards for scene in s.scenes))
