"""How true a mesh is to the renders of its field, from a ring of cameras around it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bridge_nerf.nerf.export.mesh import TexturedMesh
from bridge_nerf.nerf.export.raster import nearest, rasterise
from bridge_nerf.nerf.export.texture import read_texture
from bridge_nerf.nerf.scene.orbit import Orbit

SUPERSAMPLING = 2
"""Samples along each side of a pixel, as a program that shows a mesh takes them."""
NEAR = 0.01
"""Least distance of what a camera sees, in radii of the ball."""


class Fidelity(NamedTuple):
    """Means over views."""

    psnr: float
    """Peak signal-to-noise ratio of whole images, dB."""
    iou: float
    """Intersection over union of silhouettes."""


def draw(
    mesh: TexturedMesh, orbit: Orbit, resolution: int
) -> tuple[Float[Tensor, "b h w 3"], Float[Tensor, "b h w 1"]]:
    """Unlit images of a mesh in front of the orbit's cameras, and the share of each pixel that it covers, by
    which colours are multiplied."""
    fine = SUPERSAMPLING * resolution
    images = torch.zeros(len(orbit.azimuth), fine**2, 4)
    for pose, focal, image in zip(orbit.poses(), orbit.focal(fine), images, strict=True):
        seen = (mesh.vertices - pose[:, 3]) @ pose[:, :3]
        depth = -seen[:, 2]
        flat = torch.stack([seen[:, 0], -seen[:, 1]], -1) / depth[:, None] * focal + fine / 2
        corners = flat[mesh.faces]
        corners[(depth[mesh.faces] < NEAR).any(1)] = 0  # beside the camera or behind: without area
        covered = rasterise(corners, fine, fine)
        # Inverse depth, not depth, is linear in the image.
        inverse = covered.at / depth[mesh.faces[covered.face]]
        covered = covered._replace(at=inverse / inverse.sum(-1, keepdim=True))
        front = nearest(covered, 1 / inverse.sum(-1), fine**2)
        image[front.pixel, :3] = read_texture(mesh.texture, mesh.at(mesh.uv, front.face, front.at))
        image[front.pixel, 3] = 1
    rows = images.view(-1, resolution, SUPERSAMPLING, resolution, SUPERSAMPLING, 4)
    colour, cover = rows.mean((2, 4)).split([3, 1], -1)
    return colour, cover


def compare(
    images: Float[Tensor, "b h w 3"],
    shown: Bool[Tensor, "b h w 1"],
    others: Float[Tensor, "b h w 3"],
    others_shown: Bool[Tensor, "b h w 1"],
) -> Fidelity:
    """The fidelity of images, and of what they show of an object, to others."""
    psnr = -10 * (images - others).square().flatten(1).mean(1).log10()
    union = (shown | others_shown).flatten(1).sum(1)
    overlap = (shown & others_shown).flatten(1).sum(1) / union.clamp_min(1)
    return Fidelity(psnr.mean().item(), overlap.mean().item())
