"""A finished object from all sides: frames, a video, a contact sheet."""

from __future__ import annotations

import io

import numpy as np
import torch
from jaxtyping import UInt8
from nerfstudio.cameras.rays import RayBundle
from PIL import Image

from bridge_nerf.nerf.model import BridgeModel
from bridge_nerf.nerf.scene.orbit import Orbit
from bridge_nerf.pixels import side_by_side, to_bytes


@torch.no_grad()
def frames(model: BridgeModel, orbit: Orbit, resolution: int) -> UInt8[np.ndarray, "b h w 3"]:
    """Square images from all of the orbit's cameras.

    Raises:
        UserError: A number is not finite.
    """
    training = model.training
    model.eval()
    origins, directions = (p.view(-1, resolution, resolution, 3) for p in orbit.rays(resolution))
    images = []
    for o, d in zip(origins, directions, strict=True):
        rays = RayBundle(origins=o, directions=d, pixel_area=torch.ones_like(o[..., :1]))
        rgb = model.get_outputs_for_camera_ray_bundle(rays)["rgb"]
        images.append(rgb.clamp(0, 1).permute(2, 0, 1).cpu())
    model.train(training)
    return to_bytes(torch.stack(images))


def contact_sheet(images: UInt8[np.ndarray, "b h w 3"], columns: int = 6) -> bytes:
    """A png with all images in rows of `columns`."""
    buffer = io.BytesIO()
    Image.fromarray(side_by_side(list(images), columns, gap=0)).save(buffer, "png")
    return buffer.getvalue()
