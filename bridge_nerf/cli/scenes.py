"""The commands for finished scenes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import tyro

from bridge_nerf.errors import UserError
from bridge_nerf.flags import Range


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

    run_folder: tyro.conf.Positional[Path]
    """Folder of a run of ns-train."""
    to: str = "glb"
    """Formats, as in glb,obj,ply,usdz; ply is a cloud of points."""
    out: Path | None = None
    """Folder for the files; by default the run's."""
    resolution: int = 192
    """Points a side of the grid on which the density is read."""
    faces: int = 20_000
    """Largest number of triangles; a finer surface is decimated."""
    texture: int = 1024
    """Texels a side of the texture."""

    def run(self) -> None:
        from bridge_nerf.files import write_atomic
        from bridge_nerf.method_configs.presets import variant_config  # pyright: ignore[reportMissingImports]
        from bridge_nerf.nerf.engine.finished import open_run
        from bridge_nerf.nerf.export.extraction import extract, fidelity
        from bridge_nerf.nerf.export.formats import FORMATS

        names = [name.strip() for name in self.to.split(",")]
        if unknown := [name for name in names if name not in FORMATS]:
            raise UserError(f'--to has "{unknown[0]}"; choose from {",".join(FORMATS)}')
        config, pipeline = open_run(self.run_folder, variant_config("bridge-distill"))
        orbit = pipeline.datamanager.turntable(VIEWS)
        mesh = extract(pipeline.model, orbit, self.resolution, self.faces, self.texture)
        psnr, iou = fidelity(mesh, pipeline.model, orbit)
        standing, out = mesh.standing(), self.out or self.run_folder
        for name in dict.fromkeys(names):
            for file, data in FORMATS[name](standing, config.pipeline.model.prompt or "").items():
                write_atomic(out / file, data)
                print(out / file)
        kind = f"{len(mesh.faces)} triangles, {'' if mesh.closed else 'not '}watertight"
        print(f"{kind}; over {VIEWS} views PSNR {psnr:.1f} dB, silhouette IoU {iou:.3f}")


VIEWS = 24
"""Number of views that a mesh is fitted to and compared with."""
