"""What a race leaves: pictures that say how they were made, a video, numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from bridge_nerf.files import auxiliary, write_whole
from bridge_nerf.images.folder import provenance
from bridge_nerf.images.pictures import png
from bridge_nerf.pixels import video
from bridge_nerf.space.orders import Order
from bridge_nerf.space.race import Shot, numbers
from bridge_nerf.space.sheets import sheet


@dataclass(frozen=True, eq=False)
class Results:
    """The files, as bytes."""

    picture: bytes
    """PNG with its metadata: the picture itself, or the sheet of a race."""
    video: bytes | None
    """None where it could not be made."""
    numbers: bytes
    """CSV."""
    shots: tuple[Shot, ...]
    """All numbers, but the pictures of the last one only: results are remembered, films take room."""

    def write(self, folder: Path, stem: str) -> Files:
        """Into the folder, under names that begin with the stem."""
        picture, *others = (folder / f"{stem}.{kind}" for kind in ("png", "csv", "mp4"))
        write_whole(picture, self.picture)
        for path, data in zip(others, (self.numbers, self.video), strict=True):
            if data is not None:
                with auxiliary(path):
                    write_whole(path, data)
        return Files(picture, *(path if path.exists() else None for path in others))


class Files(NamedTuple):
    """Where they lie; None for what could not be made."""

    picture: Path
    numbers: Path | None
    video: Path | None


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
    film = None
    with auxiliary("the video"):
        film = video(sheet(shot.pictures, order.objectives) for shot in shots)
    lean = [replace(shot, pictures=shot.pictures[:0].copy()) for shot in shots[:-1]]
    return Results(picture, film, numbers(shots, order.objectives), (*lean, last))
