"""The commands for finished scenes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import tyro

from bridge_nerf.errors import UserError
from bridge_nerf.flags import Range
from bridge_nerf.nerf.export import Output

VIEWS = 24
"""Number of views that a mesh is fitted to and compared with."""


def named(text: str) -> list[str]:
    """The different names of a list with commas."""
    return list(dict.fromkeys(name.strip() for name in text.split(",")))


@dataclass(kw_only=True)
class Export:
    """Make meshes and points of a finished object, for other programs; no GPU is needed.

    Meshes stand on the ground, y up, one unit tall, with the object's own colours as a texture. How true they
    are to 24 renders is printed.
    """

    RANGES: ClassVar[dict[str, Range]] = {
        "resolution": Range(16, 1024),
        "faces": Range(100, 10_000_000),
        "texture": Range(16, 8192),
    }

    folder: tyro.conf.Positional[Path]
    """Folder of a run of ns-train."""
    to: str = "glb"
    """Formats, as in glb,obj,ply,usdz; ply is a cloud of points."""
    out: Path | None = None
    """Folder for the files; by default the run's."""
    resolution: int = 192
    """Points a side of the grid on which the density is read."""
    faces: int = 20_000
    """Number of triangles to which a finer surface is decimated."""
    texture: int = 1024
    """Texels a side of the texture."""

    def run(self) -> None:
        from bridge_nerf.files import write_atomic
        from bridge_nerf.method_configs.presets import variant_config  # pyright: ignore[reportMissingImports]
        from bridge_nerf.nerf.engine.finished import open_run
        from bridge_nerf.nerf.export.extraction import extract, fidelity
        from bridge_nerf.nerf.export.formats import FORMATS

        names = named(self.to)
        if unknown := [name for name in names if name not in FORMATS]:
            raise UserError(f'--to has "{unknown[0]}"; choose from {",".join(FORMATS)}')
        config, pipeline = open_run(self.folder, variant_config("bridge-distill"))
        out = self.out or self.folder
        out.mkdir(parents=True, exist_ok=True)  # before the seconds that a mesh takes
        orbit = pipeline.datamanager.turntable(VIEWS)
        mesh = extract(pipeline.model, orbit, self.resolution, self.faces, self.texture)
        psnr, iou = fidelity(mesh, pipeline.model, orbit)
        standing = mesh.standing()
        for name in names:
            for file, data in FORMATS[name](standing, config.pipeline.model.prompt or "").items():
                write_atomic(out / file, data)
                print(out / file)
        kind = f"{len(mesh.faces)} triangles, {'' if mesh.closed else 'not '}watertight"
        print(f"{kind}; over {VIEWS} views PSNR {psnr:.1f} dB, silhouette IoU {iou:.3f}")


@dataclass(kw_only=True)
class Render:
    """Film a finished object all round; no GPU is needed."""

    RANGES: ClassVar[dict[str, Range]] = {"size": Range(1, 8192), "frames": Range(1, 10_000)}

    folder: tyro.conf.Positional[Path]
    """Folder of a run of ns-train."""
    to: str | None = None
    """Kinds, as in mp4,gif,apng,png, where png is a folder of frames; by default mp4, or png where it is
    to be transparent."""
    size: int = 512
    """Pixels a side."""
    frames: int = 48
    """Number of frames all round."""
    output: Output = "rgb"
    """What is shown; albedo is the object's own colour without background."""
    transparent: bool = False
    """Leave the background out (apng and png)."""
    out: Path | None = None
    """Folder for the files; by default the run's."""

    def run(self) -> None:
        from bridge_nerf.method_configs.presets import variant_config  # pyright: ignore[reportMissingImports]
        from bridge_nerf.nerf.engine.finished import open_run
        from bridge_nerf.nerf.export.films import checked, frames

        kinds = named(self.to or ("png" if self.transparent else "mp4"))
        writers = {kind: checked(kind, self.size, self.transparent) for kind in kinds}
        _, pipeline = open_run(self.folder, variant_config("bridge-distill"))
        orbit = pipeline.datamanager.turntable(self.frames)
        images = frames(pipeline.model, orbit, self.size, self.output, self.transparent)
        if len(kinds) > 1:  # a single one is written while it is drawn
            images = list(images)
        for kind, write in writers.items():
            print(write(images, (self.out or self.folder) / f"turntable-{self.output}.{kind}"))
