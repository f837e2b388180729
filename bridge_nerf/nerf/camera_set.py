"""Cameras as nerfstudio's commands want them: as a data set, here without images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.datamanagers.random_cameras_datamanager import TrivialDataset
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader

from bridge_nerf.nerf.scene.orbit import Orbit


class CameraSet(TrivialDataset):
    """Cameras on an orbit, with square images of `size` pixels a side that nobody has taken.

    Args:
        closed: Have the first camera again at the end: ns-render interpolates between neighbours, and comes
            round in this way.
    """

    def __init__(self, orbit: Orbit, size: int, device: torch.device | str, closed: bool = False) -> None:
        order = [*range(len(orbit.azimuth)), *[0] * closed]
        focal, middle = orbit.focal(size)[order], size / 2
        poses = orbit.poses()[order]
        super().__init__(Cameras(poses, focal, focal, middle, middle, width=size, height=size).to(device))
        names = [Path(f"{index:05d}.png") for index in range(len(order))]
        self._dataparser_outputs = DataparserOutputs(names, self.cameras, scene_box=self.scene_box)

    @property
    def outputs(self) -> DataparserOutputs:
        """The set as a parser of data would describe it."""
        return self._dataparser_outputs


class SpiralStart(FixedIndicesEvalDataloader):
    """Cameras from which `ns-render spiral` starts.

    nerfstudio takes the world's components of a camera's backward axis for an upward direction in that
    camera's own axes, and so rolls all of the spiral by the camera's azimuth less 90 degrees. These cameras
    are rolled the other way before.
    """

    def get_camera(self, image_idx: int = 0) -> tuple[Cameras, dict[str, Any]]:
        """The camera of this index, rolled."""
        camera, batch = super().get_camera(image_idx)
        right, up, back, position = camera.camera_to_worlds[0].unbind(-1)
        s, c = torch.nn.functional.normalize(torch.stack([-back[0], back[1]]), dim=0, eps=1e-30)
        rolled = torch.stack([c * right - s * up, s * right + c * up, back, position], -1)
        camera.camera_to_worlds = rolled[None]
        return camera, batch


@dataclass
class RayBudget:
    """Rays of a batch that `ns-export` asks for; it sets the number."""

    num_rays_per_batch: int = 1 << 15
