"""The example paintings: toys of the world under its own painterly filter.

python -m bridge_nerf.toybox.paintings        # makes assets/paintings anew
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import tyro

from bridge_nerf.files import write_atomic
from bridge_nerf.photometry import BACKGROUNDS
from bridge_nerf.pixels import png, to_bytes
from bridge_nerf.toybox.flaws import painted
from bridge_nerf.toybox.objects import build
from bridge_nerf.toybox.render import View, over, render
from bridge_nerf.toybox.words import COLOURS, article

SIZE = 128
"""Pixels a side: twice the toybox's, so that strokes can be seen."""
PAINTINGS = {
    "house": ("house", "red", "blue", View(25, 15)),
    "mushroom": ("mushroom", "orange", "gray", View(10, 20)),
    "pineapple": ("pineapple", None, "white", View(0, 15)),
    "car": ("car", "blue", "gray", View(60, 20)),
    "snowman": ("snowman", None, "blue", View(-15, 10)),
    "flower": ("flower", "pink", "white", View(0, 30)),
}
"""Name -> (toy, colour, background, view)."""


def make(out: Path = Path("assets/paintings")) -> None:
    """Paint all examples.

    Args:
        out: Their folder.
    """
    for k, (name, (toy, colour, background, view)) in enumerate(PAINTINGS.items()):
        r = np.random.default_rng([2024, k])
        toy_parts = build(toy, COLOURS[colour] if colour else (0.0, 0.0, 0.0), r)
        behind = torch.tensor(BACKGROUNDS[background])[:, None, None]
        image = painted(over(render(toy_parts, view, SIZE, light_azimuth=40.0), behind), 0.8, r)
        write_atomic(out / f"{name}.png", png(to_bytes(image[None].clamp(0, 1))[0]))


def prompt_of(name: str) -> str:
    """The prompt of an example, in words that the toybox knows."""
    toy, colour, _, _ = PAINTINGS[name]
    return article(f"{colour} {toy}" if colour else toy)


if __name__ == "__main__":
    tyro.cli(make)
