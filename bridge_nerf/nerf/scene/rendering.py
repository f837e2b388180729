"""Volume rendering inside a sphere (NeRF, Mildenhall et al. 2020, eq. 3).

Letters: o, d origin and unit direction of a ray; s distance along it; delta the distance between two
samples, the same for all rays; sigma density; alpha_i = 1 - exp(-sigma_i delta) the opacity of sample i;
T_i = prod_{j<i} (1 - alpha_j) what light is left when it is reached; w_i = T_i alpha_i its weight. A batch
has n rays of up to m samples.
"""

from __future__ import annotations

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
    """k places along n rays of up to m samples each, ray by ray, from near to far.

    They are found once, by `nonzero`, and then addressed by integers: a card would wait for every mask.
    """

    positions: Float[Tensor, "k 3"]
    distances: Float[Tensor, "k"]
    """Distances along their rays."""
    index: Int[Tensor, "k"]
    """Indices into a table of all n m places, row by row."""
    shape: tuple[int, int]
    """n and m."""
    delta: float

    @property
    def rows(self) -> Int[Tensor, "k"]:
        """Index of each sample's ray."""
        return self.index // self.shape[1]

    def only(self, keep: Bool[Tensor, "k"]) -> Samples:
        """The samples to keep."""
        kept = keep.nonzero()[:, 0]
        return replace(
            self,
            positions=self.positions.index_select(0, kept),
            distances=self.distances.index_select(0, kept),
            index=self.index.index_select(0, kept),
        )

    def table(self, values: Float[Tensor, "k"]) -> Float[Tensor, "n m"]:
        """Values of the samples at their places, 0 where there is no sample."""
        n, m = self.shape
        return values.new_zeros(n * m).index_copy(0, self.index, values).view(n, m)


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
    one few, one that misses none: the spacing, and so what the field can resolve, is the same everywhere.
    Samples in cells that `occupied` (over the cube around the ball) calls empty are left out.
    """
    delta = 2 * radius / samples
    steps = torch.arange(samples, device=origins.device, dtype=origins.dtype)
    shift = 0.5 if offsets is None else offsets
    table = near[:, None] + (steps + shift) * delta
    index = (table < far[:, None]).flatten().nonzero()[:, 0]
    distances, rows = table.flatten().index_select(0, index), index // samples
    starts, ways = (part.index_select(0, rows) for part in (origins, directions))
    positions = starts + distances[:, None] * ways
    found = Samples(positions, distances, index, (len(origins), samples), delta)
    return found if occupied is None else found.only(_look_up(occupied, positions / radius))


def _look_up(cells: Bool[Tensor, "r r r"], x: Float[Tensor, "k 3"]) -> Bool[Tensor, "k"]:
    r = len(cells)
    i, j, k = ((x + 1) / 2 * r).long().clamp(0, r - 1).unbind(-1)
    return cells.flatten().index_select(0, (i * r + j) * r + k)


def cell_middles(cells: int) -> Float[Tensor, "r 3"]:
    """The middles of `cells`^3 cells of the cube [-1, 1]^3."""
    middle = (torch.arange(cells) + 0.5) / cells * 2 - 1
    return torch.stack(torch.meshgrid(middle, middle, middle, indexing="ij"), -1).view(-1, 3)


def occupancy(density: Float[Tensor, "k"], least: float) -> Bool[Tensor, "r r r"]:
    """Cells, of r^3 = k, that may hold anything: those with a density >= least in their middle, and their
    neighbours."""
    r = round(len(density) ** (1 / 3))
    solid = (density >= least).to(density.dtype).view(1, 1, r, r, r)
    return F.max_pool3d(solid, 3, stride=1, padding=1)[0, 0] > 0


def weights(density: Float[Tensor, "k"], samples: Samples) -> Float[Tensor, "k"]:
    """w_i = T_i alpha_i; those of a ray sum to its opacity, at most 1."""
    depth = density * samples.delta
    passed = samples.table(depth).cumsum(-1).flatten().index_select(0, samples.index)
    return torch.exp(depth - passed) * -torch.expm1(-depth)


def ray_sums(w: Float[Tensor, "k"], values: Float[Tensor, "k c"], samples: Samples) -> Float[Tensor, "n c"]:
    """sum_i w_i values_i of each ray."""
    weighted = w[:, None] * values
    return weighted.new_zeros(samples.shape[0], weighted.shape[1]).index_add(0, samples.rows, weighted)
