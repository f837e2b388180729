"""The result of a request: images that say how they were made, a video, measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from bridge_nerf.app.requests import ImageRequest
from bridge_nerf.app.snapshots import Snapshot, measurements
from bridge_nerf.files import auxiliary, write_atomic
from bridge_nerf.images.folder import provenance
from bridge_nerf.pixels import enlarged, png, side_by_side, titled, video

COLUMNS = 2
"""Images in a row of a grid: as many as a phone shows well."""

TITLE_HEIGHT = 26
"""Pixels of the line above an image of a grid."""


@dataclass(frozen=True, eq=False)
class Result:
    """The files of a result as bytes, and its snapshots."""

    image: bytes
    """PNG with its metadata: the image itself, or the grid of a comparison."""
    measurements: bytes
    """CSV."""
    video: bytes | None
    """MP4; None where it could not be made."""
    snapshots: tuple[Snapshot, ...]
    """All numbers, but the images of the last one only: results are cached, films take room."""

    def write(self, folder: Path, stem: str) -> tuple[Path, Path | None, Path | None]:
        """Write (PNG, CSV, MP4) under names that begin with the stem; None for what could not be made."""
        image, *others = (folder / f"{stem}.{kind}" for kind in ("png", "csv", "mp4"))
        write_atomic(image, self.image)
        for path, data in zip(others, (self.measurements, self.video), strict=True):
            if data is not None:
                with auxiliary(path):
                    write_atomic(path, data)
        csv, film = (path if path.exists() else None for path in others)
        return image, csv, film


def result_of(request: ImageRequest, made: Sequence[Snapshot]) -> Result:
    """Encode what there is after the last snapshot, be it the final one or not."""
    last, objectives = made[-1], request.objectives
    notes = [provenance(spec, last.done) | {"command": request.command} for spec in request.specs]
    if len(notes) == 1:
        subject = request.specs[0].subjects[0]
        note = notes[0] | {"prompt": " | ".join(subject.prompts), "seed": subject.seed, "index": 0}
    else:
        note = {"compare": notes, "command": request.command}
    film = None
    with auxiliary("the video"):
        film = video(grid(snapshot.images, objectives) for snapshot in made)
    return Result(
        png(grid(last.images, objectives), note) if len(notes) > 1 else png(last.images[0], note),
        measurements(made, objectives).to_csv(index=False, lineterminator="\r\n").encode(),
        film,
        (*(replace(snapshot, images=snapshot.images[:0].copy()) for snapshot in made[:-1]), last),
    )


def grid(images: UInt8[np.ndarray, "n h w 3"], titles: Sequence[str]) -> UInt8[np.ndarray, "hh ww 3"]:
    """One image enlarged, or several in rows under their titles."""
    large = [enlarged(image) for image in images]
    if len(large) == 1:
        return large[0]
    framed = [titled(image, title, TITLE_HEIGHT) for image, title in zip(large, titles, strict=True)]
    return side_by_side(framed, COLUMNS, gap=8)
