"""The gallery of finished scenes: `assets/scenes/scenes.json` and the files it names."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from bridge_nerf.errors import UserError
from bridge_nerf.files import write_atomic
from bridge_nerf.paths import asset

MANIFEST = "scenes.json"


@dataclass(frozen=True)
class Scene:
    """A finished text-to-3D run; files are named without their folder."""

    prompt: str
    command: str
    """The `ns-train` command that made it."""
    video: str
    """File of the turntable."""
    poster: str
    """File of the turntable's first frame."""
    model: str = ""
    """File of the mesh (glb, obj or ply); empty where there is none."""


def packaged_gallery() -> Path | None:
    """The gallery that comes with the package; None where there is none."""
    try:
        return asset("scenes")
    except UserError:
        return None


def read_scenes(folder: Path | None) -> list[Scene]:
    """The scenes of a gallery, in its order; none where it was not made yet."""
    if folder is None or not (folder / MANIFEST).is_file():
        return []
    return [Scene(**entry) for entry in json.loads((folder / MANIFEST).read_text())]


def write_scenes(folder: Path, scenes: list[Scene]) -> None:
    """Write the manifest."""
    write_atomic(folder / MANIFEST, (json.dumps([asdict(s) for s in scenes], indent=1) + "\n").encode())
