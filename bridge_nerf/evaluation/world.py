"""The world's own renders of a toy with the camera's azimuth beside each, by which scenes are measured."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.toybox.captions import random_colour
from bridge_nerf.toybox.dataset import spread
from bridge_nerf.toybox.geometry import Part
from bridge_nerf.toybox.objects import build
from bridge_nerf.toybox.render import View, over, render
from bridge_nerf.toybox.words import COLOURS, OBJECTS

ELEVATION = 15.0
"""Degrees above the horizon of a turntable's cameras, as a scene's by default; those of random renders lie
within 10 degrees of it, and their distances within 3 % of the world's."""
CHUNK = 50
"""Renders that a process makes at a time."""


@dataclass(frozen=True, eq=False)
class Posed:
    """Images of one toy on white, and where their cameras stood."""

    images: Float[Tensor, "n 3 size size"]
    """RGB in [0, 1], rounded to bytes."""
    azimuths: Float[Tensor, "n"]
    """Degrees; 0 looks at the front."""


def posed_renders(toy: str, count: int, seed: int, size: int = 64, workers: int | None = None) -> Posed:
    """Renders of a toy with random proportions, colour (a held-out one too), light and camera.

    Azimuths are uniform. Render k is a function of (seed, toy, k) alone, whatever the number of `workers`,
    which is that of `spread`.
    """
    edges = [*range(0, count, CHUNK), count]
    parts = spread(_some, [(toy, seed, a, b, size) for a, b in pairwise(edges)], workers)
    return Posed(torch.cat([p.images for p in parts]), torch.cat([p.azimuths for p in parts]))


def turntable(toy: str, sides: int, seed: int, size: int = 64, loosened: float = 0.0) -> Posed:
    """One random toy from evenly spaced sides, beginning at its front; `loosened` as in `build`."""
    r = np.random.default_rng([seed, OBJECTS.index(toy)])
    parts, light = _specimen(toy, r, loosened), r.uniform(-180, 180)
    azimuths = turntable_azimuths(sides)
    images = [_on_white(parts, View(a, ELEVATION), size, light) for a in azimuths.tolist()]
    return Posed(torch.stack(images), azimuths)


def turntable_azimuths(sides: int) -> Float[Tensor, "sides"]:
    """The azimuths of a turntable's cameras, degrees in [0, 360)."""
    return torch.arange(sides) * (360 / sides)


def _some(toy: str, seed: int, start: int, stop: int, size: int) -> Posed:
    images, azimuths = [], []
    for k in range(start, stop):
        r = np.random.default_rng([seed, OBJECTS.index(toy), k])
        parts = _specimen(toy, r)
        view = View(r.uniform(-180, 180), ELEVATION + r.uniform(-10, 10))
        view = View(view.azimuth, view.elevation, view.distance * r.uniform(0.97, 1.03))
        images.append(_on_white(parts, view, size, r.uniform(-180, 180)))
        azimuths.append(view.azimuth)
    return Posed(torch.stack(images), torch.tensor(azimuths))


def _specimen(toy: str, r: np.random.Generator, loosened: float = 0.0) -> list[Part]:
    colour = random_colour(toy, r, held_out=True)
    return build(toy, COLOURS[colour] if colour else (0.0, 0.0, 0.0), r, loosened)


def _on_white(parts: list[Part], view: View, size: int, light: float) -> Float[Tensor, "3 size size"]:
    image = over(render(parts, view, size, light_azimuth=light), torch.ones(3)[:, None, None])
    return (image * 255).round() / 255
