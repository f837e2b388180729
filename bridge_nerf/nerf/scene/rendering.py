"""Volume rendering inside a sphere (NeRF, Mildenhall et al. 2020, eq. 3).

Letters: o, d origin and unit direction of a ray; s distance along it; delta the distance between two
samples, the same for all rays; sigma density; alpha_i = 1 - exp(-sigma_i delta) the opacity of sample i;
T_i = prod_{j<i} (1 - alpha_j) what light is left when it is reached; w_i = T_i alpha_i its weight. A batch
has n rays of up to m samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

SPAN = 8
"""Samples of a ray that the field is asked for together where no gradient is wanted."""
DARK = 1e-5
"""Share of the light of a ray at which `look` follows it no further."""

Field = Callable[[Float[Tensor, "k 3"]], tuple[Float[Tensor, "k"], Float[Tensor, "k 3"]]]
"""Density and colour at k places."""


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

    def values(self, colour: Float[Tensor, "k 3"]) -> Float[Tensor, "k 5"]:
        """What is summed along rays: colour, 1 (for the opacity) and distance."""
        return torch.cat([colour, torch.ones_like(colour[:, :1]), self.distances[:, None]], -1)


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
    table = near[:, None] + (steps + (0.5 if offsets is None else offsets)) * delta
    inside = table < far[:, None]
    if occupied is not None:
        inside &= _look_up(occupied, origins / radius, directions / radius, table)
    return _take(origins, directions, table, inside, delta)


def _take(
    origins: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
    table: Float[Tensor, "n m"],
    wanted: Bool[Tensor, "n m"],
    delta: float,
) -> Samples:
    """The wanted samples of a table of distances."""
    index = wanted.flatten().nonzero()[:, 0]
    distances, rows = table.flatten().index_select(0, index), index // table.shape[1]
    starts, ways = (part.index_select(0, rows) for part in (origins, directions))
    return Samples(starts + distances[:, None] * ways, distances, index, (len(table), table.shape[1]), delta)


def _look_up(
    cells: Bool[Tensor, "r r r"],
    origins: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
    table: Float[Tensor, "n m"],
) -> Bool[Tensor, "n m"]:
    """The cells, fewer than 2^24 of the cube [-1, 1]^3, in which places at these distances along rays lie."""
    r, index = len(cells), torch.zeros_like(table)
    # One axis after the other: on a CPU far faster than rows of three numbers.
    for o, d in zip(origins.unbind(-1), directions.unbind(-1), strict=True):
        x = (table * d[:, None]).add_(o[:, None]).add_(1).mul_(r / 2).floor_()
        index = index.mul_(r).add_(x.clamp_(0, r - 1))
    return cells.flatten().index_select(0, index.int().flatten()).view_as(table)


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


def weights(
    density: Float[Tensor, "k"], samples: Samples, passed: Float[Tensor, "n"] | None = None
) -> Float[Tensor, "k"]:
    """w_i = T_i alpha_i; those of a ray sum to its opacity, at most 1. Light has passed an optical depth
    `passed` when it reaches the first sample of each ray; without it, nothing."""
    depth = density * samples.delta
    table = samples.table(depth).cumsum(-1)
    passed = (table if passed is None else table + passed[:, None]).flatten().index_select(0, samples.index)
    return torch.exp(depth - passed) * -torch.expm1(-depth)


def ray_sums(w: Float[Tensor, "k"], values: Float[Tensor, "k c"], samples: Samples) -> Float[Tensor, "n c"]:
    """sum_i w_i values_i of each ray."""
    weighted = w[:, None] * values
    return weighted.new_zeros(samples.shape[0], weighted.shape[1]).index_add(0, samples.rows, weighted)


@torch.no_grad()
def weighty(
    density: Callable[[Float[Tensor, "k 3"]], Float[Tensor, "k"]], samples: Samples, least: float
) -> Samples:
    """The samples that weigh more than `least` in their ray's colour.

    Span after span, from near to far, the density is asked for along those rays alone in which more light
    than that is left. On a card all are asked at once: it would wait at every span.
    """
    span = SPAN if samples.index.device.type == "cpu" else samples.shape[1]
    dark = -math.log(least) if least else math.inf
    rows, column = samples.rows, samples.index % samples.shape[1]
    found, passed = torch.zeros_like(samples.distances), samples.distances.new_zeros(samples.shape[0])
    for start in range(0, samples.shape[1], span):
        lit = (passed < dark).index_select(0, rows)
        here = (lit & (column >= start) & (column < start + span)).nonzero()[:, 0]
        sigma = density(samples.positions.index_select(0, here))
        found.index_copy_(0, here, sigma)
        passed.index_add_(0, rows.index_select(0, here), sigma * samples.delta)
    return samples.only(weights(found, samples) > least)


@torch.no_grad()
def look(
    field: Field,
    origins: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
    near: Float[Tensor, "n"],
    far: Float[Tensor, "n"],
    samples: int,
    occupied: Bool[Tensor, "r r r"],
) -> Float[Tensor, "n 5"]:
    """Colour, opacity and depth of each ray in the unit ball, for images.

    They are the `ray_sums` over all samples of `march`, to DARK, for a fraction of the work: span after span,
    from near to far, the field is asked for those rays alone that light comes from and that meet occupied
    cells there.
    """
    delta = 2 / samples
    spans = torch.arange(samples, device=origins.device, dtype=origins.dtype).split(SPAN)
    starts = near[:, None] + delta * torch.stack([steps[0] for steps in spans])
    # No sample of a span is more cells away from its middle than this.
    nearby = _widened(occupied, int(SPAN / 2 * delta * len(occupied) / 2) + 1)
    met = _look_up(nearby, origins, directions, starts + SPAN / 2 * delta) & (starts < far[:, None])
    sums, passed = origins.new_zeros(len(origins), 5), torch.zeros_like(near)
    for steps, here in zip(spans, met.T.contiguous(), strict=True):
        rays = (here & (passed < -math.log(DARK))).nonzero()[:, 0]
        o, d, s, end = (part.index_select(0, rays) for part in (origins, directions, near, far))
        table = s[:, None] + (steps + 0.5) * delta
        found = _take(o, d, table, (table < end[:, None]) & _look_up(occupied, o, d, table), delta)
        density, colour = field(found.positions)
        w = weights(density, found, passed.index_select(0, rays))
        sums.index_add_(0, rays, ray_sums(w, found.values(colour), found))
        passed.index_add_(0, rays, found.table(density * delta).sum(1))
    return sums


def _widened(cells: Bool[Tensor, "r r r"], reach: int) -> Bool[Tensor, "r r r"]:
    """The cells, and all that are up to `reach` cells away along each axis."""
    for axis in range(3):
        for _ in range(reach):  # what is rolled round the cube's edge only makes it more
            cells = cells | cells.roll(1, axis) | cells.roll(-1, axis)
    return cells
