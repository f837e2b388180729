"""Images of the toys: an orbit camera, soft light from above, coverage as alpha.

Frame as in `objects`. Azimuth 0 looks at the front (the camera stands on +x), elevation 90 looks straight
down. Colours are display-referred RGB in [0, 1]; images are premultiplied RGBA so that any background can
be put behind them later.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.toybox.geometry import FAR, Part, PartBatch, intersect, normals, paint

FIELD_OF_VIEW = 40.0
"""Vertical opening angle, degrees."""
DISTANCE = 3.3
"""Mean distance of the camera from the centre, in radii of the unit ball."""


@dataclass(frozen=True)
class View:
    """The camera's place: azimuth and elevation in degrees, distance in radii of the unit ball."""

    azimuth: float
    elevation: float
    distance: float = DISTANCE

    @property
    def word(self) -> str:
        """The caption's word for this view."""
        if self.elevation >= 60:
            return "overhead view"
        turned = abs((self.azimuth + 180) % 360 - 180)
        return "front view" if turned <= 45 else "back view" if turned >= 135 else "side view"


def random_view(r: np.random.Generator) -> View:
    """One view in seven from overhead, the others from -10 to 60 degrees, lower ones more often."""
    elevation = r.uniform(60, 88) if r.random() < 1 / 7 else -10 + 70 * r.beta(1.3, 2.2)
    return View(r.uniform(-180, 180), elevation, DISTANCE * r.uniform(0.94, 1.12))


def rays(view: View, size: int, samples: int) -> tuple[Float[Tensor, "1 3"], Float[Tensor, "r 3"]]:
    """Camera position and unit directions of size x size pixels with samples x samples rays each,
    pixel-major.
    """
    azimuth, elevation = np.radians([view.azimuth, view.elevation])
    back = np.array(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
    )
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    up = np.cross(back, right)
    n = size * samples
    grid = ((torch.arange(n) + 0.5) / n * 2 - 1) * float(np.tan(np.radians(FIELD_OF_VIEW / 2)))
    basis = torch.tensor(np.stack([right, up, back]), dtype=torch.float32)
    y, x = torch.meshgrid(-grid, grid, indexing="ij")
    camera = torch.stack([x, y, -torch.ones_like(x)], -1)
    camera = camera.reshape(size, samples, size, samples, 3).transpose(1, 2).reshape(-1, 3)
    return basis[2:] * view.distance, torch.nn.functional.normalize(camera @ basis, dim=-1)


def render(
    parts: list[Part], view: View, size: int, light_azimuth: float = 0.0, samples: int = 2
) -> Float[Tensor, "4 size size"]:
    """Premultiplied RGBA in [0, 1] of a toy, `samples`^2 rays a pixel.

    The light is a dome (brighter above, a little bounce below) and a soft key light 65 degrees up at
    `light_azimuth`; each ray of a pixel aims at another point of the key light, which softens its shadow and
    the contact of part and part.
    """
    batch = PartBatch.of(parts)
    origin, directions = rays(view, size, samples)
    keep = _near_ball(origin, directions, 1.35)
    colour = torch.zeros(len(directions), 4)
    image_rays = keep.nonzero().squeeze(1)
    distance, index = intersect(batch, origin, directions[image_rays])
    hit = distance < FAR
    if hit.any():
        lit = image_rays[hit]
        points = origin + directions[lit] * distance[hit, None]
        colour[lit, :3] = _shade(batch, points, directions[lit], index[hit], light_azimuth, lit % samples**2)
        colour[lit, 3] = 1
    return colour.reshape(size, size, samples**2, 4).mean(2).permute(2, 0, 1).contiguous()


def _near_ball(origin: Tensor, directions: Tensor, radius: float) -> Tensor:
    closest = origin - (origin * directions).sum(-1, keepdim=True) * directions
    return closest.square().sum(-1) < radius**2


def _shade(batch: PartBatch, points, directions, index, light_azimuth: float, which: Tensor) -> Tensor:
    normal, local = normals(batch, points, index)
    normal = torch.where((normal * directions).sum(-1, keepdim=True) > 0, -normal, normal)
    turn = torch.deg2rad(torch.tensor(light_azimuth) + 14 * (which.float() % 2 * 2 - 1))
    rise = torch.deg2rad(65 + 9 * (which.float() // 2 % 2 * 2 - 1))
    light = torch.stack([rise.cos() * turn.cos(), rise.cos() * turn.sin(), rise.sin()], -1)
    facing = (normal * light).sum(-1)
    shadow, _ = intersect(batch, points + 2e-3 * normal, light, least=5e-3)
    key = ((facing + 0.25) / 1.25).clamp_min(0) * torch.where(shadow < FAR, 0.45, 1.0)
    dome = 0.80 + 0.20 * normal[:, 2]
    return (paint(batch, local, index) * (0.58 * dome + 0.48 * key)[:, None]).clamp(0, 1)


def over(
    image: Float[Tensor, "*b 4 h w"], background: Float[Tensor, "*#b 3 #h #w"]
) -> Float[Tensor, "*b 3 h w"]:
    """The premultiplied image laid over a background, RGB in [0, 1]."""
    return image[..., :3, :, :] + (1 - image[..., 3:, :, :]) * background
