"""Images of a finished object from all sides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from bridge_nerf.files import auxiliary, write_atomic
from bridge_nerf.nerf.model import BridgeModel
from bridge_nerf.nerf.scene.orbit import Orbit
from bridge_nerf.pixels import png, side_by_side, to_bytes, video

FILES = FILM, SHEET = "turntable.mp4", "turntable.png"


@torch.no_grad()
def views(model: BridgeModel, orbit: Orbit, resolution: int) -> Iterator[dict[str, Float[Tensor, "h w _"]]]:
    """The model's outputs as square images, for each of the orbit's cameras in turn, in main memory."""
    training = model.training
    model.eval()
    origins, directions = (p.view(-1, resolution, resolution, 3) for p in orbit.rays(resolution))
    try:
        for o, d in zip(origins, directions, strict=True):
            rays = RayBundle(origins=o, directions=d, pixel_area=torch.ones_like(o[..., :1]))
            outputs = model.get_outputs_for_camera_ray_bundle(rays)
            yield {name: output.cpu() for name, output in outputs.items()}
    finally:
        model.train(training)


def frames(model: BridgeModel, orbit: Orbit, resolution: int) -> UInt8[np.ndarray, "b h w 3"]:
    """Render square images from all of the orbit's cameras.

    Raises:
        UserError: A number is not finite.
    """
    images = [view["rgb"].clamp(0, 1).permute(2, 0, 1) for view in views(model, orbit, resolution)]
    return to_bytes(torch.stack(images))


def contact_sheet(images: UInt8[np.ndarray, "b h w 3"], columns: int = 6) -> bytes:
    """A PNG with all images in rows of `columns`, on white."""
    return png(side_by_side(list(images), columns, gap=0))


def write(folder: Path, images: UInt8[np.ndarray, "b h w 3"], stills: int) -> None:
    """Write a video of all images, and a contact sheet with at most `stills` of them; one that cannot be made
    is said and left out."""
    with auxiliary(folder / FILM):
        write_atomic(folder / FILM, video(images))
    with auxiliary(folder / SHEET):
        shown = images[:: -(-len(images) // stills)]
        write_atomic(folder / SHEET, contact_sheet(shown))
