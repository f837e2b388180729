"""A finished object from all sides: frames, a video, a contact sheet."""

from __future__ import annotations

import io

import numpy as np
import torch
from jaxtyping import UInt8
from nerfstudio.cameras.rays import RayBundle
from PIL import Image

from bridge_nerf.nerf.model import BridgeModel
from bridge_nerf.nerf.orbit import Orbit


@torch.no_grad()
def frames(model: BridgeModel, orbit: Orbit, resolution: int) -> UInt8[np.ndarray, "b h w 3"]:
    """Square pictures from all of the orbit's cameras."""
    training = model.training
    model.eval()
    origins, directions = (p.view(-1, resolution, resolution, 3) for p in orbit.rays(resolution))
    pictures = []
    for o, d in zip(origins, directions, strict=True):
        rays = RayBundle(origins=o, directions=d, pixel_area=torch.ones_like(o[..., :1]))
        rgb = model.get_outputs_for_camera_ray_bundle(rays)["rgb"]
        pictures.append((rgb.clamp(0, 1) * 255).round().byte().cpu().numpy())
    model.train(training)
    return np.stack(pictures)


def contact_sheet(pictures: UInt8[np.ndarray, "b h w 3"], columns: int = 6) -> bytes:
    """A png with all pictures in rows of `columns`."""
    blank = np.full_like(pictures[:1], 255)
    padded = np.concatenate([pictures, *[blank] * (-len(pictures) % columns)])
    rows = [np.concatenate(list(padded[i : i + columns]), axis=1) for i in range(0, len(padded), columns)]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(rows)).save(buffer, "png")
    return buffer.getvalue()
