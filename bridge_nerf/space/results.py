"""What a race leaves: pictures that say how they were made, a video, numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bridge_nerf.files import video, write_whole
from bridge_nerf.images.pictures import png
from bridge_nerf.images.run import provenance
from bridge_nerf.space.orders import Order
from bridge_nerf.space.race import Shot, numbers
from bridge_nerf.space.sheets import sheet


@dataclass(frozen=True, eq=False)
class Results:
    """The files, as bytes."""

    picture: bytes
    """PNG with its metadata: the picture itself, or the sheet of a race."""
    video: bytes
    numbers: bytes
    """CSV."""
    shots: tuple[Shot, ...]
    """All numbers, but the pictures of the last one only: results are remembered, films take room."""

    def write(self, folder: Path, stem: str) -> Files:
        """Into the folder, under names that begin with the stem."""
        files = Files(*(folder / f"{stem}.{kind}" for kind in ("png", "csv", "mp4")))
        for path, data in zip(files, (self.picture, self.numbers, self.video), strict=True):
            write_whole(path, data)
        return files


class Files(NamedTuple):
    """Where they lie."""

    picture: Path
    numbers: Path
    video: Path


def results_of(order: Order, shots: Sequence[Shot]) -> Results:
    """Encode what there is after the last shot, be it the final one or not."""
    last = shots[-1]
    notes = [provenance(spec, last.done) | {"command": order.command} for spec in order.specs]
    if len(notes) == 1:
        subject = order.specs[0].subjects[0]
        seen = {"prompt": " | ".join(subject.prompts), "seed": subject.seed, "index": 0}
        picture = png(last.pictures[0], notes[0] | seen)
    else:
        picture = png(sheet(last.pictures, order.objectives), {"race": notes, "command": order.command})
    films = [sheet(shot.pictures, order.objectives) for shot in shots]
    lean = [replace(shot, pictures=shot.pictures[:0].copy()) for shot in shots[:-1]]
    return Results(picture, video(np.stack(films)), numbers(shots, order.objectives), (*lean, last))
