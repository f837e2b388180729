"""Comparison of several objectives from one seed, with the same t and noise in every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.files import auxiliary, sweep, write_atomic
from bridge_nerf.images.folder import Result
from bridge_nerf.images.generation import OnStep
from bridge_nerf.images.image_files import read_image
from bridge_nerf.images.run import frames, optimise_images
from bridge_nerf.images.spec import Spec
from bridge_nerf.pixels import enlarged, png, side_by_side, titled, together, video

COLUMNS = 6
"""Frames in a row of the grid, spread evenly over the run."""


def compare(
    specs: Mapping[str, Spec], folder: Path, prior: ImagePrior, observer: Callable[[str], OnStep]
) -> list[Result]:
    """Run each specification in a folder of its name, then write video.mp4 (all together) and grid.png (a row
    each, over time).

    Args:
        observer: Name -> function called after each step. A run that it stops ends the comparison.
    """
    sweep(folder)
    results = []
    for name, spec in specs.items():
        results.append(optimise_images(spec, folder / name, prior, observer(name)))
        if not results[-1].finished:
            return results
    for name, made in (("video.mp4", _video), ("grid.png", _grid)):
        (folder / name).unlink(missing_ok=True)
        with auxiliary(folder / name):
            write_atomic(folder / name, made({name: frames(folder / name) for name in specs}))
    return results


def _video(films: Mapping[str, Sequence[Path]]) -> bytes:
    """An mp4 of all runs side by side; one with fewer frames than others stays at its last."""

    def shown_frames() -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        for k in range(max(map(len, films.values()))):
            shown = {name: _frame(film[min(k, len(film) - 1)]) for name, film in films.items()}
            yield enlarged(together([titled(image, name) for name, image in shown.items()]))

    return video(shown_frames())


def _grid(films: Mapping[str, Sequence[Path]]) -> bytes:
    """A PNG with a row of frames for each run."""
    rows = []
    for name, film in films.items():
        at = np.linspace(0, len(film) - 1, COLUMNS).round().astype(int)
        rows.append(titled(side_by_side([_frame(film[k]) for k in at], COLUMNS), name))
    return png(np.concatenate(rows))


def _frame(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    return enlarged(np.asarray(read_image(path)), 128)
