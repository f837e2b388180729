"""A texture for a mesh: charts by xatlas, and the field's colours baked into them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from bridge_nerf.devices import send
from bridge_nerf.nerf.export.isosurface import CHUNK
from bridge_nerf.nerf.export.raster import interpolate, rasterise
from bridge_nerf.nerf.model import BridgeModel
from bridge_nerf.nerf.scene.rendering import march, ray_sums, weights

PADDING = 4
"""Texels between two charts."""
OUTSIDE, INSIDE = 0.06, 0.12
"""Lengths of the ray whose colour a texel gets, before and behind the surface, in radii of the ball."""
FAINT = 1e-3
"""Opacity of such a ray at which the colour on the surface itself counts as much."""


def unwrap(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], resolution: int
) -> tuple[Int[np.ndarray, "w"], Int[np.ndarray, "f 3"], Float[np.ndarray, "w 2"]]:
    """The vertices with those at seams there several times (as indices into `vertices`), the faces between
    these, and texture coordinates in [0, 1] from the lower left corner."""
    import xatlas

    atlas, packing = xatlas.Atlas(), xatlas.PackOptions()
    packing.padding, packing.resolution, packing.bilinear = PADDING, resolution, True
    atlas.add_mesh(vertices.astype(np.float32), faces.astype(np.uint32))
    atlas.generate(pack_options=packing)
    index, split, uv = atlas[0]
    return index.astype(np.int64), split.astype(np.int64), uv.astype(np.float64)


def read_texture(texture: Float[Tensor, "t t 3"], uv: Float[Tensor, "k 2"]) -> Float[Tensor, "k 3"]:
    """Bilinear colours at k places."""
    places = torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], -1).view(1, 1, -1, 2)
    read = F.grid_sample(texture.permute(2, 0, 1)[None], places, "bilinear", "border", align_corners=False)
    return read[0, :, 0].T


@torch.no_grad()
def bake(
    model: BridgeModel,
    vertices: Float[Tensor, "v 3"],
    normals: Float[Tensor, "v 3"],
    faces: Int[Tensor, "f 3"],
    uv: Float[Tensor, "v 2"],
    resolution: int,
) -> Float[Tensor, "t t 3"]:
    """Colour in [0, 1] of each texel, from the upper row to the lower one: what a short ray through the
    surface shows there, without a background. Around the charts their nearest colours go on.

    Args:
        normals: Unit vectors that point outwards.
        resolution: Texels a side.
    """
    from scipy.ndimage import distance_transform_edt

    corners = torch.stack([uv[:, 0], 1 - uv[:, 1]], -1)[faces] * resolution
    covered = rasterise(corners, resolution, resolution)
    texture = torch.zeros(resolution**2, 3)
    for pixel, face, at in zip(*(part.split(CHUNK // 8) for part in covered), strict=True):
        place, normal = (interpolate(values, faces, face, at) for values in (vertices, normals))
        place, normal = send(torch.stack([place, F.normalize(normal, dim=-1)]), model.device)
        texture[pixel] = surface_colour(model, place, normal).cpu()
    empty = torch.ones(resolution**2, dtype=torch.bool)
    empty[covered.pixel] = False
    blank = empty.view(resolution, resolution).numpy()
    nearest = distance_transform_edt(blank, return_distances=False, return_indices=True)
    rows, columns = np.asarray(nearest)
    return texture.view(resolution, resolution, 3)[torch.from_numpy(rows), torch.from_numpy(columns)]


def surface_colour(
    model: BridgeModel, places: Float[Tensor, "k 3"], normals: Float[Tensor, "k 3"]
) -> Float[Tensor, "k 3"]:
    """Colour that a look straight at the surface shows (the volume rendering of a short ray along -normal,
    divided by its opacity)."""
    near = torch.zeros_like(places[:, 0])
    rays = (places + OUTSIDE * normals, -normals, near, near + OUTSIDE + INSIDE)
    samples = march(*rays, 2 * model.config.eval_samples)
    density, colour = model.field(samples.positions)
    sums = ray_sums(weights(density, samples), samples.values(colour), samples)
    _, own = model.field(places)
    return (sums[:, :3] + FAINT * own) / (sums[:, 3:4] + FAINT)
