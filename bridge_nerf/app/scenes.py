"""The gallery of finished scenes: `assets/scenes/scenes.json` and the files it names."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from bridge_nerf.errors import UserError
from bridge_nerf.files import write_atomic
from bridge_nerf.paths import asset
from bridge_nerf.reading import read_json

MANIFEST = "scenes.json"
CURE = "make the gallery anew: python -m bridge_nerf.app.gallery RUN ..."


@dataclass(frozen=True)
class Scene:
    """A finished text-to-3D run; files are named without their folder.

    Raises:
        UserError: A file is named with a folder, as one elsewhere would be.
    """

    prompt: str
    command: str
    """The `ns-train` command that made it."""
    video: str
    """File of the turntable."""
    poster: str
    """File of the turntable's first frame."""
    model: str = ""
    """File of the mesh (glb, obj or ply); empty where there is none."""

    def __post_init__(self) -> None:
        for name in self.files:
            if not name.strip(".") or set(name) & set("/\\:\0"):
                raise UserError(f"{name!r} is not the name of a file of the gallery")

    @property
    def files(self) -> tuple[str, ...]:
        """The names of its files."""
        return (self.video, self.poster, *([self.model] if self.model else []))


def packaged_gallery() -> Path | None:
    """The gallery that comes with the package; None where there is none."""
    try:
        return asset("scenes")
    except UserError:
        return None


def read_scenes(folder: Path | None) -> list[Scene]:
    """The scenes of a gallery, in its order; none where it was not made yet.

    Raises:
        UserError: What it says of them cannot be read, or a file is missing.
    """
    if folder is None or not (folder / MANIFEST).exists():
        return []
    scenes = read_json(folder / MANIFEST, list[Scene], CURE)
    for name in (name for scene in scenes for name in scene.files):
        # Path.is_file raises for what is longer than a name may be.
        if not os.path.isfile(folder / name):
            raise UserError(f"{folder / MANIFEST} names {name!r:.200}, which is not there; {CURE}")
    return scenes


def write_scenes(folder: Path, scenes: list[Scene]) -> None:
    """Write the manifest."""
    write_atomic(folder / MANIFEST, (json.dumps([asdict(s) for s in scenes], indent=1) + "\n").encode())
