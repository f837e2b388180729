"""Trained scenes that are measured: their views are kept on disk, beside all that they depend on."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.errors import UserError
from bridge_nerf.files import write_atomic
from bridge_nerf.pixels import to_bytes
from bridge_nerf.reading import parsed, read_arrays
from bridge_nerf.toybox.words import article

SHOWN = 3
"""Differences that a refusal names."""


@dataclass(frozen=True)
class Run:
    """The training of one scene by the method's default numbers."""

    objective: str
    toy: str
    seed: int

    @property
    def prompt(self) -> str:
        """The toy as a noun phrase."""
        return article(self.toy)

    @property
    def stem(self) -> str:
        """Name of its files, without an ending."""
        return f"{self.objective}-{self.toy}-{self.seed}".replace(" ", "-").replace(":", "-")


@dataclass(frozen=True, eq=False)
class Scene:
    """A trained object from all sides, beginning at its front, and the seconds that it took."""

    views: Float[Tensor, "sides 3 size size"]
    """RGB in [0, 1]."""
    seconds: float


@dataclass(frozen=True)
class KeptScenes:
    """A folder with the scenes of some runs, a file each."""

    folder: Path
    identities: Mapping[Run, Mapping[str, str]]
    """What each run depends on, by names that a user knows; a kept scene with another identity is refused."""

    def path(self, run: Run) -> Path:
        """The run's file: views (bytes), seconds and the identity as JSON."""
        return self.folder / f"{run.stem}.npz"

    def missing(self) -> list[Run]:
        """The runs that are not kept yet, in order. UserError as for `read`, of whichever run."""
        return [run for run in self.identities if self.read(run) is None]

    def read(self, run: Run) -> Scene | None:
        """The run's scene; None where there is none.

        Raises:
            UserError: The file is that of another run, or damaged.
        """
        path = self.path(run)
        if not path.exists():
            return None
        cure = "remove it to train it again"
        held = read_arrays(path, {"identity": ("U", 0), "views": ("u", 4), "seconds": ("f", 0)}, cure)
        identity = parsed(dict, str(held["identity"]), str(path), cure)
        views = torch.from_numpy(held["views"])
        _, channels, height, width = views.shape
        if views.dtype != torch.uint8 or channels != 3 or height != width or not views.numel():
            raise UserError(f"{path} holds no views but {list(views.shape)} numbers; {cure}")
        if identity != (wanted := dict(self.identities[run])):
            names = [name for name in wanted | identity if identity.get(name) != wanted.get(name)]
            said = [f"{name} was {identity.get(name)}, is {wanted.get(name)}" for name in names[:SHOWN]]
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            raise UserError(
                f"{path} holds a scene of another run ({'; '.join(said)}{more}), and figures never mix two: "
                "choose another --out, or remove the file to train it again"
            )
        return Scene(views.float() / 255, float(held["seconds"]))

    def write(self, run: Run, scene: Scene) -> None:
        """Keep the scene, whole or not at all. UserError for views that are not finite."""
        pixels = to_bytes(scene.views).transpose(0, 3, 1, 2)
        identity, buffer = json.dumps(dict(self.identities[run])), io.BytesIO()
        np.savez_compressed(buffer, views=pixels, seconds=scene.seconds, identity=np.array(identity))
        write_atomic(self.path(run), buffer.getvalue())
