"""The surface that an image shows. A ray has one where it stops half of its light or more: what stops less is
fog, of which no command should make a mesh.

Letters as in `rendering`; c the colour of a sample, and sums those of `ray_sums` over w_i (c_i, 1, s_i).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

SOLID = 0.5
"""Least opacity of a surface."""
REACH = 0.05
"""Distance over which densities are compared, a cell and a half of the default grids, whose own derivative
jumps from cell to cell; and before the surface at which they are. The expected one lies behind half of the
light, where the density may fall again: normals would point inwards."""
CORNERS = ((1.0, 1.0, 1.0), (1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0))
"""Corners of a tetrahedron around the origin: sum_k c_k c_k^T is 4 times the identity."""

Density = Callable[[Float[Tensor, "k 3"]], Float[Tensor, "k"]]


def albedo(sums: Float[Tensor, "n 5"]) -> Float[Tensor, "n 3"]:
    """Expected colour of a surface, sum w c / sum w: no light and no background is in it. White where
    there is none."""
    return _expected(sums, sums[:, :3], sums.new_ones(()))


def depth(sums: Float[Tensor, "n 5"], origins: Float[Tensor, "n 3"]) -> Float[Tensor, "n 1"]:
    """Expected distance of a surface, sum w s / sum w. Where there is none, a distance beyond which nothing
    is, not even the corners of the cube around the ball: the same for all rays of a camera, so that it
    looks like nothing, and behind everything, so that what fuses depths finds the space before it empty."""
    return _expected(sums, sums[:, 4:], origins.norm(dim=-1, keepdim=True) + math.sqrt(3))


def _expected(sums: Float[Tensor, "n 5"], values: Float[Tensor, "n c"], otherwise: Tensor) -> Tensor:
    opacity = sums[:, 3:4]
    return torch.where(opacity >= SOLID, values / opacity.clamp_min(SOLID), otherwise)


@torch.no_grad()
def normals(
    density: Density,
    sums: Float[Tensor, "n 5"],
    origins: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
) -> Float[Tensor, "n 3"]:
    """Unit vectors along which the log density falls fastest, in the world's axes; 0 where no surface is.

    They are differences to four points around one: a hash encoding has no gradient of positions.
    """
    solid = (sums[:, 3] >= SOLID).nonzero()[:, 0]
    points = origins + (depth(sums, origins) - REACH) * directions
    corners = points.new_tensor(CORNERS)
    around = points.index_select(0, solid)[:, None] + REACH / math.sqrt(3) * corners
    falling = -density(around.view(-1, 3)).clamp_min(torch.finfo(sums.dtype).tiny).log()
    found = falling.view(-1, 4) @ corners
    return torch.zeros_like(origins).index_copy(0, solid, F.normalize(found, dim=-1))
