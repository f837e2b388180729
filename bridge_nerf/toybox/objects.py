"""Toys by name, in place: centred, scaled to the unit ball, whole or loosened.

Frame: z up, the front faces +x. `r` is a numpy Generator, colours are RGB in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bridge_nerf.toybox import toys
from bridge_nerf.toybox.geometry import Part, affine
from bridge_nerf.toybox.words import OBJECTS

BUILDERS: dict[str, Callable[[np.random.Generator, tuple[float, float, float]], list[Part]]] = {
    name: getattr(toys, name.replace(" ", "_")) for name in OBJECTS
}


def _surface() -> dict[str, np.ndarray]:
    """Homogeneous points on each canonical primitive, dense enough to measure a toy's size."""
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1)
    ball = np.concatenate([ring, ring[:, [2, 0, 1]], ring[:, [1, 2, 0]]])
    box = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
    frustum = np.concatenate([ring + np.array([0, 0, z]) for z in (-1, 1)])
    shapes = {"ball": ball, "box": box, "frustum": frustum}
    return {kind: np.concatenate([points, np.ones((len(points), 1))], 1) for kind, points in shapes.items()}


SURFACE = _surface()


def extent(parts: list[Part]) -> np.ndarray:
    """World-space points on the parts' surfaces, [n, 3]."""
    points = []
    for part in parts:
        local = SURFACE[part.kind].copy()
        if part.kind == "frustum":
            local[local[:, 2] > 0, :2] *= part.taper
        points.append((local @ part.local_to_world.T)[:, :3])
    return np.concatenate(points)


def build(
    name: str, colour: tuple[float, float, float], r: np.random.Generator, loosened: float = 0.0
) -> list[Part]:
    """A toy with random proportions, centred, inside the unit ball (radius 0.9 to 0.98).

    `loosened` > 0 gives the flaw "bad structure": each part is thrown about by that share of the toy's size.
    """
    parts = BUILDERS[name](r, colour)
    points = extent(parts)
    centre = (points.min(0) + points.max(0)) / 2
    radius = np.linalg.norm(points - centre, axis=1).max()
    place = affine(size=r.uniform(0.9, 0.98) / radius) @ affine(-centre)
    parts = [part.moved(place) for part in parts]
    if loosened > 0:
        parts = [_thrown(part, r, loosened) for part in parts]
    return parts


def _thrown(part: Part, r: np.random.Generator, amount: float) -> Part:
    centre = part.local_to_world[:3, 3]
    about = affine(
        centre + r.normal(0, amount, 3), np.exp(r.normal(0, amount, 3)), r.normal(0, 160 * amount, 3)
    )
    return part.moved(about @ affine(-centre))
