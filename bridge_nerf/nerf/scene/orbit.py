"""Cameras on an orbit around the object, and their rays.

The world is the toybox's: z up, the object in the unit ball, its front on +x. Azimuth 0 looks at the front
from +x, elevation 90 straight down. Angles are degrees, distances radii of the unit ball. Camera axes are
nerfstudio's (OpenGL): x right, y up, looking along -z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.devices import send
from bridge_nerf.errors import UserError
from bridge_nerf.flags import SHARE, Range
from bridge_nerf.seeding import generator

GOLDEN = (math.sqrt(5) - 1) / 2
LIMITS = {"elevation": (-90.0, 90.0), "distance": (0.0, 1000.0), "fov": (1.0, 179.0)}
"""The lowest and the highest: degrees, radii of the unit ball, degrees."""


@dataclass
class OrbitConfig:
    """Distribution of the training cameras. Every range is (lowest, highest)."""

    RANGES: ClassVar[dict[str, Range]] = {"overhead_share": SHARE}

    elevation_range: tuple[float, float] = (-10.0, 45.0)
    """Degrees above the horizon, uniform."""
    overhead_share: float = 0.12
    """Share of the cameras that look from above instead, ..."""
    overhead_range: tuple[float, float] = (60.0, 85.0)
    """... with elevations in this range (degrees)."""
    distance_range: tuple[float, float] = (3.1, 3.7)
    """Distance from the middle, in radii of the unit ball."""
    fov_range: tuple[float, float] = (40.0, 40.0)
    """Vertical opening angle, degrees."""

    def check(self) -> None:
        """Raises UserError for a range that no camera can be drawn from."""
        for name in ("elevation_range", "overhead_range", "distance_range", "fov_range"):
            flag = f"pipeline.datamanager.orbit.{name.replace('_', '-')}"
            kind = "elevation" if name == "overhead_range" else name.removesuffix("_range")
            check_numbers(flag, kind, *getattr(self, name))


def check_numbers(flag: str, kind: str, *numbers: float) -> None:
    """Raises UserError unless they are possible for an elevation, distance or fov, and in ascending order."""
    least, most = LIMITS[kind]
    if not all(least <= x <= most for x in numbers) or list(numbers) != sorted(numbers):
        many = "a number" if len(numbers) == 1 else f"{len(numbers)} numbers in ascending order,"
        raise UserError(
            f"--{flag} {' '.join(f'{x:g}' for x in numbers)} makes no sense; "
            f"give {many} from {least:g} to {most:g}"
        )


@dataclass(frozen=True)
class Orbit:
    """b cameras, all looking at the middle."""

    azimuth: Float[Tensor, "b"]
    elevation: Float[Tensor, "b"]
    distance: Float[Tensor, "b"]
    fov: Float[Tensor, "b"]

    def to(self, device: torch.device) -> Orbit:
        """The same cameras there, in one copy."""
        numbers = torch.stack([self.azimuth, self.elevation, self.distance, self.fov])
        return Orbit(*send(numbers, device).unbind())

    def poses(self) -> Float[Tensor, "b 3 4"]:
        """Camera-to-world matrices."""
        a, e = torch.deg2rad(self.azimuth), torch.deg2rad(self.elevation)
        back = torch.stack([e.cos() * a.cos(), e.cos() * a.sin(), e.sin()], -1)
        right = torch.stack([-a.sin(), a.cos(), torch.zeros_like(a)], -1)
        up = torch.linalg.cross(back, right)
        return torch.stack([right, up, back, back * self.distance[:, None]], -1)

    def focal(self, resolution: int) -> Float[Tensor, "b"]:
        """Focal length in pixels of square images of `resolution` pixels a side."""
        return resolution / (2 * torch.tan(torch.deg2rad(self.fov) / 2))

    def rays(self, resolution: int) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
        """Origins and unit directions through all pixels' middles: camera by camera, row by row."""
        return pixel_rays(self.poses(), self.focal(resolution), resolution)

    @classmethod
    def of(cls, poses: Float[Tensor, "b 3 4"], fov: float) -> Orbit:
        """Cameras that stand where the given ones do, whichever way those look."""
        x, y, z = poses[..., 3].unbind(-1)
        azimuth, elevation = torch.atan2(y, x), torch.atan2(z, torch.hypot(x, y))
        distance = poses[..., 3].norm(dim=-1)
        return cls(azimuth.rad2deg(), elevation.rad2deg(), distance, torch.full_like(distance, fov))


def pixel_rays(
    poses: Float[Tensor, "b 3 4"], focal: Float[Tensor, "b"], resolution: int
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    """Origins and unit directions through all pixels' middles of square images: camera by camera, row by row.

    Args:
        poses: Camera-to-world matrices.
        focal: Focal lengths in pixels.
    """
    middle = torch.arange(resolution, device=poses.device, dtype=poses.dtype) + 0.5 - resolution / 2
    y, x = torch.meshgrid(-middle, middle, indexing="ij")
    plane = torch.stack([x, y], -1) / focal[:, None, None, None]
    camera = torch.cat([plane, -torch.ones_like(plane[..., :1])], -1).flatten(1, 2)
    directions = torch.nn.functional.normalize(camera @ poses[..., :3].mT, dim=-1)
    return poses[:, None, :, 3].expand_as(directions).reshape(-1, 3), directions.reshape(-1, 3)


def random_orbit(config: OrbitConfig, cameras: int, seed: int, step: int) -> Orbit:
    """The cameras of one training step, a pure function of (seed, step).

    Azimuths follow the golden ratio over all cameras of all steps: random to the eye, yet any stretch of
    steps looks at the object evenly from all sides, which independent draws do not.
    """
    start = torch.rand((), generator=generator(seed, "azimuth")).item()
    count = torch.arange(step * cameras, (step + 1) * cameras, dtype=torch.float64)
    azimuth = ((start + GOLDEN * count) % 1 * 360 - 180).float()
    draws = torch.rand(4, cameras, generator=generator(seed, "camera", step))

    def within(limits: tuple[float, float], u: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        return limits[0] + (limits[1] - limits[0]) * u

    above = draws[0] < config.overhead_share
    elevation = torch.where(
        above, within(config.overhead_range, draws[1]), within(config.elevation_range, draws[1])
    )
    return Orbit(
        azimuth, elevation, within(config.distance_range, draws[2]), within(config.fov_range, draws[3])
    )


def turntable(cameras: int, elevation: float, distance: float, fov: float) -> Orbit:
    """Evenly spaced cameras around the object, from its front."""
    azimuth = torch.arange(cameras) * (360 / cameras)
    return Orbit(azimuth, *(torch.full((cameras,), value) for value in (elevation, distance, fov)))


def around(cameras: int, distance: float, fov: float, turn: float = 0.0) -> Orbit:
    """Evenly spaced cameras on all sides, along a spiral from below to above (Bauer 2000, Distribution of
    points on a sphere with application to star catalogs) that is turned by `turn` degrees."""
    height = (2 * torch.arange(cameras) + 1) / cameras - 1
    elevation = torch.rad2deg(torch.asin(height))
    azimuth = turn + math.sqrt(math.pi * cameras) * (elevation + 90)
    return Orbit(azimuth, elevation, *(torch.full((cameras,), value) for value in (distance, fov)))
