"""A mesh with a texture."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge_nerf.nerf.export.raster import interpolate


@dataclass(frozen=True)
class TexturedMesh:
    """f triangles between v vertices, with those at the texture's seams there once for each side."""

    vertices: Float[Tensor, "v 3"]
    normals: Float[Tensor, "v 3"]
    """Unit vectors that point outwards."""
    faces: Int[Tensor, "f 3"]
    """Counter-clockwise from outside."""
    uv: Float[Tensor, "v 2"]
    """Places in the texture in [0, 1], from its lower left corner."""
    texture: Float[Tensor, "t t 3"]
    """Colours in [0, 1], from the upper row to the lower one."""
    closed: bool
    """True where the surface encloses a volume: it is watertight."""

    def at(
        self, values: Float[Tensor, "v c"], face: Int[Tensor, "k"], at: Float[Tensor, "k 3"]
    ) -> Float[Tensor, "k c"]:
        """Values of the vertices at k barycentric places."""
        return interpolate(values, self.faces, face, at)

    def standing(self) -> TexturedMesh:
        """The mesh as other programs want it: y up, its front towards +z, one unit tall, on the ground in the
        middle. The field has z up and its front towards +x."""
        turned = self.vertices[:, [1, 2, 0]]
        low, high = turned.aminmax(dim=0)
        origin = torch.stack([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
        return replace(
            self, vertices=(turned - origin) / (high[1] - low[1]), normals=self.normals[:, [1, 2, 0]]
        )
