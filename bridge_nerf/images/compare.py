"""The same-noise race: several objectives from one seed, with the same t and noise in every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.files import video, write_whole
from bridge_nerf.images.callbacks import OnStep
from bridge_nerf.images.pictures import enlarged, png, side_by_side
from bridge_nerf.images.run import Result, frames, optimise_images
from bridge_nerf.images.spec import Spec

LABEL = 16
"""Pixels of the line above a column."""
MOMENTS = 6
"""Frames a row of the grid."""


def compare(
    specs: Mapping[str, Spec], folder: Path, prior: ImagePrior, look: Callable[[str], OnStep]
) -> list[Result]:
    """Run each specification in a folder of its name, then write video.mp4 (side by side) and grid.png (a row
    each, over time).

    Args:
        look: Name -> what is called after each step. A run that it stops ends the comparison, to be resumed.
    """
    results = []
    for name, spec in specs.items():
        results.append(optimise_images(spec, folder / name, prior, look(name)))
        if not results[-1].finished:
            return results
    films = {name: [enlarged(frame, 128) for frame in frames(folder / name)] for name in specs}
    together = zip(*films.values(), strict=True)
    shown = [enlarged(_titled(side_by_side([list(row)]), list(films))) for row in together]
    write_whole(folder / "video.mp4", video(np.stack(shown)))
    moments = [
        film[k] for film in films.values() for k in np.linspace(0, len(film) - 1, MOMENTS).round().astype(int)
    ]
    rows = [moments[k : k + MOMENTS] for k in range(0, len(moments), MOMENTS)]
    grid = np.concatenate(
        [_titled(side_by_side([row]), [name]) for name, row in zip(films, rows, strict=True)]
    )
    write_whole(folder / "grid.png", png(grid))
    return results


def _titled(picture: UInt8[np.ndarray, "h w 3"], titles: list[str]) -> UInt8[np.ndarray, "hh w 3"]:
    """The picture under a line of evenly spread titles."""
    w = picture.shape[1]
    line = Image.new("RGB", (w, LABEL), "white")
    draw = ImageDraw.Draw(line)
    for k, title in enumerate(titles):
        draw.text((2 + k * w // len(titles), 2), title, "black")
    return np.concatenate([np.asarray(line), picture])
