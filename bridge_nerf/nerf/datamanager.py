"""Cameras instead of data: random orbits to train on, an evenly spaced turntable to look at.

A subclass of nerfstudio's `RandomCamerasDataManager` because its commands (`ns-render spiral`, `ns-export`)
ask for that class by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.datamanagers.base_datamanager import DataManager, DataManagerConfig
from nerfstudio.data.datamanagers.random_cameras_datamanager import RandomCamerasDataManager, TrivialDataset
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader

from bridge_nerf.errors import UserError
from bridge_nerf.flags import STEPS, Range
from bridge_nerf.nerf.scene.orbit import GOLDEN, Orbit, OrbitConfig, check_numbers, random_orbit, turntable

PIXELS = Range(1, 8192)


@dataclass
class OrbitDataManagerConfig(DataManagerConfig):
    """Cameras that look at the object."""

    RANGES: ClassVar[dict[str, Range]] = {
        "cameras_per_step": Range(1, 1024),
        "train_resolution": PIXELS,
        "final_resolution": PIXELS,
        "final_resolution_from": STEPS,
        "eval_resolution": PIXELS,
        "eval_cameras": Range(1, 10_000),
    }

    _target: type = field(default_factory=lambda: OrbitDataManager)
    train_resolution: int = 64
    """Pixels a side of training images."""
    final_resolution: int | None = None
    """Pixels a side from step `final_resolution_from` on; None keeps them."""
    final_resolution_from: int = 2000
    """Absolute step at which training images change their size."""
    cameras_per_step: int = 1
    """Cameras, and so images, of a training step."""
    orbit: OrbitConfig = field(default_factory=OrbitConfig)
    """Distribution of the training cameras."""
    eval_resolution: int = 256
    """Pixels a side of turntable images."""
    eval_cameras: int = 24
    """Cameras around the turntable."""
    eval_elevation: float = 15.0
    """Elevation of the turntable's cameras, degrees."""
    eval_distance: float = 3.3
    """Distance of the turntable's cameras from the middle, in radii of the unit ball."""

    def resolution(self, step: int) -> int:
        """Pixels a side of training images at this absolute step."""
        if self.final_resolution is None or step < self.final_resolution_from:
            return self.train_resolution
        return self.final_resolution

    def check(self) -> None:
        """Raises UserError for numbers that no camera can have, and images that would shrink."""
        self.orbit.check()
        first, final = self.train_resolution, self.final_resolution
        if final is not None and final < first:
            raise UserError(
                f"--pipeline.datamanager.train-resolution {first} would fall to {final} at step "
                f"{self.final_resolution_from}; give --pipeline.datamanager.final-resolution {first} too"
            )
        check_numbers("pipeline.datamanager.eval-elevation", "elevation", self.eval_elevation)
        check_numbers("pipeline.datamanager.eval-distance", "distance", self.eval_distance)


class OrbitDataManager(RandomCamerasDataManager):
    """The cameras of step k are a pure function of (seed, k), whatever happened before."""

    config: OrbitDataManagerConfig  # type: ignore[assignment]

    def __init__(
        self,
        config: OrbitDataManagerConfig,
        device: torch.device | str = "cpu",
        test_mode: Literal["test", "val", "inference"] = "val",
        world_size: int = 1,
        local_rank: int = 0,
        **kwargs,
    ) -> None:
        self.config, self.device, self.test_mode = config, device, test_mode
        self.world_size, self.local_rank, self.sampler = world_size, local_rank, None
        self.seed = self.step = 0
        cameras = self._turntable_cameras()
        self.train_dataset = self.eval_dataset = TrivialDataset(cameras)
        DataManager.__init__(self)
        self.fixed_indices_eval_dataloader = FixedIndicesEvalDataloader(self.eval_dataset, device=device)
        self.eval_dataloader = self.fixed_indices_eval_dataloader

    def setup_train(self) -> None:
        """Load nothing."""

    def setup_eval(self) -> None:
        """Load nothing."""

    def turntable(self, cameras: int) -> Orbit:
        """Evenly spaced evaluation cameras around the object."""
        config = self.config
        fov = sum(config.orbit.fov_range) / 2
        return turntable(cameras, config.eval_elevation, config.eval_distance, fov)

    def _turntable_cameras(self) -> Cameras:
        orbit, size = self.turntable(self.config.eval_cameras), self.config.eval_resolution
        # ns-render interpolates between neighbours: the first camera again at the end closes the circle.
        closed = [*range(len(orbit.azimuth)), 0]
        focal, middle = orbit.focal(size)[closed], size / 2
        poses = orbit.poses()[closed]
        return Cameras(poses, focal, focal, middle, middle, width=size, height=size).to(self.device)

    def next_train(self, step: int) -> tuple[RayBundle, dict]:
        """All rays of this step's images, and the `Orbit` they come from, in main memory."""
        self.train_count, self.step = self.train_count + 1, step
        orbit = random_orbit(self.config.orbit, self.config.cameras_per_step, self.seed, step)
        origins, directions = orbit.to(torch.device(self.device)).rays(self.config.resolution(step))
        pixel_area = torch.ones_like(origins[:, :1])
        return RayBundle(origins=origins, directions=directions, pixel_area=pixel_area), {"orbit": orbit}

    def next_eval(self, step: int) -> tuple[RayBundle, dict]:
        """The training rays and cameras: there is no other data."""
        return self.next_train(step)

    def next_eval_image(self, step: int) -> tuple[Cameras, dict]:
        """The next turntable camera, a golden turn apart from the last."""
        self.eval_count += 1
        index = int(self.eval_count * GOLDEN * self.config.eval_cameras) % self.config.eval_cameras
        return self.fixed_indices_eval_dataloader.get_camera(index)

    def get_train_rays_per_batch(self) -> int:
        """Rays of the training step that was drawn last."""
        return self.config.cameras_per_step * self.config.resolution(self.step) ** 2

    def get_datapath(self) -> Path:
        """Folder for the viewer's camera paths: the working directory, as there is no data folder."""
        return Path.cwd()
