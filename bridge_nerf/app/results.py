"""What a race leaves: images that say how they were made, a video, numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from bridge_nerf.app.compare import Shot, numbers
from bridge_nerf.app.requests import Order
from bridge_nerf.app.sheets import sheet
from bridge_nerf.files import auxiliary, write_atomic
from bridge_nerf.images.folder import provenance
from bridge_nerf.pixels import png, video


@dataclass(frozen=True, eq=False)
class Results:
    """The files, as bytes."""

    image: bytes
    """PNG with its metadata: the image itself, or the sheet of a race."""
    video: bytes | None
    """None where it could not be made."""
    numbers: bytes
    """CSV."""
    shots: tuple[Shot, ...]
    """All numbers, but the images of the last one only: results are remembered, films take room."""

    def write(self, folder: Path, stem: str) -> Files:
        """Into the folder, under names that begin with the stem."""
        image, *others = (folder / f"{stem}.{kind}" for kind in ("png", "csv", "mp4"))
        write_atomic(image, self.image)
        for path, data in zip(others, (self.numbers, self.video), strict=True):
            if data is not None:
                with auxiliary(path):
                    write_atomic(path, data)
        return Files(image, *(path if path.exists() else None for path in others))


class Files(NamedTuple):
    """Where they lie; None for what could not be made."""

    image: Path
    numbers: Path | None
    video: Path | None


def results_of(order: Order, shots: Sequence[Shot]) -> Results:
    """Encode what there is after the last shot, be it the final one or not."""
    last = shots[-1]
    notes = [provenance(spec, last.done) | {"command": order.command} for spec in order.specs]
    if len(notes) == 1:
        subject = order.specs[0].subjects[0]
        seen = {"prompt": " | ".join(subject.prompts), "seed": subject.seed, "index": 0}
        image = png(last.images[0], notes[0] | seen)
    else:
        image = png(sheet(last.images, order.objectives), {"race": notes, "command": order.command})
    film = None
    with auxiliary("the video"):
        film = video(sheet(shot.images, order.objectives) for shot in shots)
    lean = [replace(shot, images=shot.images[:0].copy()) for shot in shots[:-1]]
    return Results(image, film, numbers(shots, order.objectives), (*lean, last))
