"""A mesh out of a radiance field, without a GPU."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge_nerf.errors import UserError
from bridge_nerf.nerf.engine.turntable import views
from bridge_nerf.nerf.export.fidelity import Fidelity, compare, draw
from bridge_nerf.nerf.export.isosurface import (
    density_grid,
    is_closed,
    peaks,
    silhouette_level,
    solid,
    triangles,
)
from bridge_nerf.nerf.export.mesh import TexturedMesh
from bridge_nerf.nerf.export.texture import bake, unwrap
from bridge_nerf.nerf.model import BridgeModel
from bridge_nerf.nerf.scene.orbit import Orbit

SHOWN = 0.5
"""Opacity from which a render shows the object."""
SIDE = 128
"""Pixels a side of the silhouettes that the level is fitted to."""


def extract(
    model: BridgeModel, orbit: Orbit, resolution: int = 192, faces: int = 20_000, texels: int = 1024
) -> TexturedMesh:
    """The mesh of an object, in the field's own coordinates.

    Args:
        orbit: Cameras whose silhouettes it should have.
        resolution: Points a side of the grid on which the density is read.
        faces: Number of triangles to which a finer surface is decimated.
        texels: Texels a side of the texture.

    Raises:
        UserError: The renders show nothing, or the density is nowhere enough for a surface.
    """
    grid = density_grid(model, resolution)
    _, opacity = renders(model, orbit, SIDE)
    shown = (opacity > SHOWN).flatten()
    if not shown.any():
        raise UserError("there is nothing to export: the object is all fog, or gone; train it for longer")
    level = silhouette_level(peaks(grid, orbit, SIDE).cpu(), shown)
    places, corners = triangles(solid(grid.cpu().numpy(), level), level, faces)
    index, split, uv = unwrap(places, corners, texels)
    vertices, normals, uv = (
        torch.from_numpy(part).float() for part in (places[index], _normals(places, corners)[index], uv)
    )
    split = torch.from_numpy(split)
    texture = bake(model, vertices, normals, split, uv, texels)
    return TexturedMesh(vertices, normals, split, uv, texture, is_closed(corners))


def _normals(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, "v 3"]:
    from trimesh import Trimesh

    return np.array(Trimesh(vertices, faces, process=False).vertex_normals)


def fidelity(mesh: TexturedMesh, model: BridgeModel, orbit: Orbit, resolution: int = 256) -> Fidelity:
    """How true a mesh, in the field's own coordinates, is to renders before the model's background."""
    colour, opacity = renders(model, orbit, resolution)
    drawn, cover = draw(mesh, orbit, resolution)
    background = model.background.shown().detach().cpu()
    return compare(drawn + (1 - cover) * background, cover > SHOWN, colour, opacity > SHOWN)


def renders(
    model: BridgeModel, orbit: Orbit, resolution: int
) -> tuple[Float[Tensor, "b h w 3"], Float[Tensor, "b h w 1"]]:
    """Colour and opacity from the orbit's cameras."""
    found = list(views(model, orbit, resolution))
    return torch.stack([v["rgb"] for v in found]), torch.stack([v["accumulation"] for v in found])
