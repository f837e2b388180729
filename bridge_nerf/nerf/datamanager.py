"""Cameras instead of data: random orbits to train on, an evenly spaced turntable to look at.

A subclass of nerfstudio's `RandomCamerasDataManager` because its commands (`ns-render spiral`, `ns-export`)
ask for that class by name.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.datamanagers.base_datamanager import DataManager, DataManagerConfig
from nerfstudio.data.datamanagers.random_cameras_datamanager import RandomCamerasDataManager
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader

from bridge_nerf.errors import UserError
from bridge_nerf.flags import STEPS, Range
from bridge_nerf.nerf.camera_set import CameraSet, RayBudget, SpiralStart
from bridge_nerf.nerf.refusals import refuse_command
from bridge_nerf.nerf.scene.orbit import (
    GOLDEN,
    Orbit,
    OrbitConfig,
    around,
    check_numbers,
    random_orbit,
    turntable,
)

PIXELS = Range(1, 8192)
ALL_SIDES = 64
"""Cameras, on all sides, of which a mesh is fused."""
AT_ONCE = 8
"""Cameras of a batch of rays for points: even a small cloud has all sides."""


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

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Read what a run has saved, unless it is for a command that has no use for it."""
        refuse_command(sys.argv)
        self.__dict__.update(state)

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
    """While training, the cameras of step k are a pure function of (seed, k), whatever happened before.

    Outside, each batch of rays comes from other sides: `ns-export` asks for that of step 0 again and again.
    """

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
        size, elsewhere = config.eval_resolution, (config.eval_distance, self._fov)
        self.train_dataset = CameraSet(around(ALL_SIDES, *elsewhere), size, device)
        self.eval_dataset = CameraSet(self.turntable(config.eval_cameras), size, device, closed=True)
        self.train_dataparser_outputs = self.train_dataset.outputs
        self.train_pixel_sampler = RayBudget()
        DataManager.__init__(self)
        # Of means: without the first camera once more. (nerfstudio's type says one index.)
        each: Any = tuple(range(config.eval_cameras))
        self.fixed_indices_eval_dataloader = FixedIndicesEvalDataloader(
            self.eval_dataset, each, device=device
        )
        self.eval_dataloader = SpiralStart(self.eval_dataset, device=device)

    def setup_train(self) -> None:
        """Load nothing."""

    def setup_eval(self) -> None:
        """Load nothing."""

    def turntable(self, cameras: int) -> Orbit:
        """Evenly spaced evaluation cameras around the object."""
        config = self.config
        return turntable(cameras, config.eval_elevation, config.eval_distance, self._fov)

    @property
    def _fov(self) -> float:
        """Opening angle of all cameras but those of training, degrees."""
        return sum(self.config.orbit.fov_range) / 2

    def next_train(self, step: int) -> tuple[RayBundle, dict]:
        """All rays of this step's images, and the `Orbit` they come from, in main memory."""
        self.train_count += 1
        if self.training:
            self.step, side = step, self.config.resolution(step)
            orbit = random_orbit(self.config.orbit, self.config.cameras_per_step, self.seed, step)
        else:
            side = max(1, math.isqrt(self.train_pixel_sampler.num_rays_per_batch // AT_ONCE))
            orbit = around(AT_ONCE, self.config.eval_distance, self._fov, 360 * GOLDEN * self.train_count)
        origins, directions = orbit.to(torch.device(self.device)).rays(side)
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
