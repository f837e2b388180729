"""The surface that an image shows. A ray has one where it stops half of its light or more: what stops less is
fog, of which no command should make a mesh.

Letters as in `rendering`; c the colour of a sample, and sums those of `ray_sums` over w_i (c_i, 1, s_i).

The expected distance of what stops the light, sum w s / sum w, is another one from each side: points at it
form a layer, a twentieth of the unit thick, of which a mesh becomes foam. So the surface lies where, near
that distance, the density first reaches LEVEL; only where it does not, at the expected distance itself.
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
LEVEL = 5.0
"""Density at the surface: over a seventh of the unit it stops half of the light. Soft surfaces reach no more,
and what has none is a hole in whatever depths are fused to."""
AROUND = (-0.12, -0.09, -0.06, -0.03, 0.0, 0.03, 0.06)
"""Distances from the expected one at which the density is looked at, about a sample apart."""
REACH = 0.04
"""Distance from the surface at which densities are compared, more than a cell of the default grids: a
derivative jumps from cell to cell, and a hash encoding has none."""
CORNERS = ((1.0, 1.0, 1.0), (1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0))
"""Corners of a tetrahedron around the origin: sum_k c_k c_k^T is 4 times the identity."""

Density = Callable[[Float[Tensor, "k 3"]], Float[Tensor, "k"]]


def albedo(sums: Float[Tensor, "n 5"]) -> Float[Tensor, "n 3"]:
    """Expected colour of a surface, sum w c / sum w: no light and no background is in it. White where
    there is none."""
    opacity = sums[:, 3:4]
    return torch.where(opacity >= SOLID, sums[:, :3] / opacity.clamp_min(SOLID), 1.0)


@torch.no_grad()
def depth_and_normals(
    density: Density,
    sums: Float[Tensor, "n 5"],
    origins: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
) -> tuple[Float[Tensor, "n 1"], Float[Tensor, "n 3"]]:
    """Distance of each ray's surface, and its unit normal in the world's axes: the direction in which the log
    density falls fastest.

    Without a surface the normal is 0, and the distance one beyond which nothing is, not even the corners of
    the cube around the ball: the same for all rays of a camera, so that it looks like nothing, and behind
    everything, so that what fuses depths finds the space before it empty.
    """

    def log_density(points: Float[Tensor, "k m 3"]) -> Float[Tensor, "k m"]:
        found = density(points.reshape(-1, 3)).clamp_min(torch.finfo(sums.dtype).tiny)
        return found.log().view(points.shape[:2])

    solid = (sums[:, 3] >= SOLID).nonzero()[:, 0]
    starts, ways, kept = (part.index_select(0, solid) for part in (origins, directions, sums))
    expected = kept[:, 4:] / kept[:, 3:4]
    places = (expected + sums.new_tensor(AROUND)).clamp_min(0)
    above = log_density(starts[:, None] + places[..., None] * ways[:, None]) - math.log(LEVEL)
    distance = _first_zero(places, above, otherwise=expected)
    corners = sums.new_tensor(CORNERS)
    around = (starts + distance * ways)[:, None] + REACH / math.sqrt(3) * corners
    normals = F.normalize(-log_density(around) @ corners, dim=-1)
    beyond = origins.norm(dim=-1, keepdim=True) + math.sqrt(3)
    return beyond.index_copy(0, solid, distance), torch.zeros_like(origins).index_copy(0, solid, normals)


def _first_zero(
    x: Float[Tensor, "k m"], y: Float[Tensor, "k m"], otherwise: Float[Tensor, "k 1"]
) -> Float[Tensor, "k 1"]:
    """The first x, of those given and of what lies between them, at which y is at least 0."""
    reached = y >= 0
    first = reached.byte().argmax(1, keepdim=True)
    before = (first - 1).clamp_min(0)
    (x0, x1), (y0, y1) = ((part.gather(1, before), part.gather(1, first)) for part in (x, y))
    share = torch.where(first > 0, y0 / (y0 - y1), 0.0)
    return torch.where(reached.any(1, keepdim=True), torch.lerp(x0, x1, share), otherwise)
