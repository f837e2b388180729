"""Volume rendering inside a sphere (NeRF, Mildenhall et al. 2020, eq. 3).

Letters: o, d origin and unit direction of a ray; s distance along it; delta the distance between two
samples, the same for all rays; sigma density; alpha_i = 1 - exp(-sigma_i delta) the opacity of sample i;
T_i = prod_{j<i} (1 - alpha_j) what light is left when it is reached; w_i = T_i alpha_i its weight. A batch
has n rays of up to m samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


def sphere_span(
    origins: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"], radius: float = 1.0
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
    """Distances at which rays with unit directions enter and leave the sphere around the world's origin.

    A ray that misses the sphere, or has it behind, gets near = far; a ray that starts inside has near = 0.
    """
    middle = -(origins * directions).sum(-1)
    half_squared = middle**2 - (origins**2).sum(-1) + radius**2
    half = half_squared.clamp_min(0).sqrt()
    near = (middle - half).clamp_min(0)
    return near, torch.maximum(middle + half, near)


@dataclass(frozen=True)
class Samples:
    """Places along rays: `positions` of the `inside` ones, packed in row order, and the `distances` of
    all."""

    positions: Float[Tensor, "k 3"]
    distances: Float[Tensor, "n m"]
    inside: Bool[Tensor, "n m"]
    delta: float

    @property
    def rows(self) -> Int[Tensor, "k"]:
        """The ray of each position."""
        return self.inside.nonzero()[:, 0]

    def only(self, keep: Bool[Tensor, "k"]) -> Samples:
        """Fewer of them."""
        return replace(
            self, positions=self.positions[keep], inside=self.inside.masked_scatter(self.inside, keep)
        )


def march(
    origins: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
    near: Float[Tensor, "n"],
    far: Float[Tensor, "n"],
    samples: int,
    radius: float = 1.0,
    offsets: Float[Tensor, "n 1"] | None = None,
    occupied: Bool[Tensor, "r r r"] | None = None,
) -> Samples:
    """Samples at one common spacing delta = 2 radius / samples between `near` and `far`.

    `offsets` in [0, 1) shift each ray's samples (stratified sampling, one draw a ray); without them samples
    sit in the middle of their interval. A ray through the sphere's middle gets `samples` of them, a grazing
    one few: the spacing, and so what the field can resolve, is the same everywhere. Samples in cells that
    `occupied` (over the cube around the ball) calls empty are left out.
    """
    delta = 2 * radius / samples
    steps = torch.arange(samples, device=origins.device, dtype=origins.dtype)
    shift = 0.5 if offsets is None else offsets
    distances = near[:, None] + (steps + shift) * delta
    inside = distances < far[:, None]
    rows = inside.nonzero()[:, 0]
    positions = origins[rows] + distances[inside][:, None] * directions[rows]
    found = Samples(positions, distances, inside, delta)
    return found if occupied is None else found.only(_look_up(occupied, positions / radius))


def _look_up(cells: Bool[Tensor, "r r r"], x: Float[Tensor, "k 3"]) -> Bool[Tensor, "k"]:
    i, j, k = ((x + 1) / 2 * len(cells)).long().clamp(0, len(cells) - 1).unbind(-1)
    return cells[i, j, k]


def occupancy(density: Callable[[Tensor], Tensor], cells: int, least: float) -> Bool[Tensor, "r r r"]:
    """Which of `cells`^3 cells of the cube [-1, 1]^3 may hold anything: density >= least at its middle or
    next to it."""
    middle = (torch.arange(cells) + 0.5) / cells * 2 - 1
    grid = torch.stack(torch.meshgrid(middle, middle, middle, indexing="ij"), -1).view(-1, 3)
    solid = (density(grid) >= least).float().view(1, 1, cells, cells, cells)
    return F.max_pool3d(solid, 3, stride=1, padding=1)[0, 0] > 0


def weights(density: Float[Tensor, "k"], samples: Samples) -> Float[Tensor, "n m"]:
    """w_i = T_i alpha_i, 0 where there is no sample; a row sums to the ray's opacity, at most 1."""
    empty = density.new_zeros(samples.inside.shape)
    depth = empty.masked_scatter(samples.inside, density * samples.delta)
    passed = torch.cumsum(depth, dim=-1)
    return torch.exp(depth - passed) * -torch.expm1(-depth)


def colours(w: Float[Tensor, "n m"], colour: Float[Tensor, "k c"], samples: Samples) -> Float[Tensor, "n c"]:
    """sum_i w_i colour_i of each ray."""
    weighted = w[samples.inside][:, None] * colour
    return weighted.new_zeros(len(w), weighted.shape[1]).index_add(0, samples.rows, weighted)
