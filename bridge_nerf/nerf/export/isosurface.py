"""The surface of a radiance field: a level of its log density, as triangles.

The density is read once on a grid. All that follows asks the grid: which level has the silhouettes of the
renders, what is enclosed or loose, and where the surface runs (marching cubes, Lewiner et al. 2003).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge_nerf.errors import UserError
from bridge_nerf.nerf.model import BridgeModel
from bridge_nerf.nerf.scene.orbit import Orbit
from bridge_nerf.nerf.scene.rendering import sphere_span

CHUNK = 1 << 19
"""Points, or rays, that are looked at together."""
LEAST = 1e-6
"""Lowest density that the grid tells from nothing."""
SMOOTHING = 1.0
"""Standard deviation of the Gaussian that smooths the grid, in cells."""
GENTLE = (5, 3, 7)
"""Settings of the decimation to try until one reaches the number of faces and leaves the surface closed;
where none does, the first counts."""
SMALLEST_PART = 0.01
"""Share of the largest part's volume below which a loose part is a crumb."""


@torch.no_grad()
def density_grid(model: BridgeModel, resolution: int) -> Float[Tensor, "r r r"]:
    """Log density over the cube [-1, 1]^3, whose outermost points are the grid's, smoothed by a cell; LEAST
    outside of the unit ball, in which the object lives."""
    from scipy.ndimage import gaussian_filter

    axis = torch.linspace(-1, 1, resolution, device=model.device)
    log = torch.full((resolution,) * 3, LEAST, device=model.device).log_()
    plane = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).view(-1, 2)
    rows = max(1, CHUNK // resolution**2)
    for xs, part in zip(axis.split(rows), log.split(rows), strict=True):
        points = torch.cat([xs.repeat_interleave(len(plane))[:, None], plane.repeat(len(xs), 1)], -1)
        inside = (points.norm(dim=-1) < 1).nonzero()[:, 0]
        density = model.field(points[inside])[0].clamp_min(LEAST).log()
        part.view(-1).index_copy_(0, inside, density)
    # A surface that is rough at the size of a cell decimates badly, and folds onto itself.
    return torch.from_numpy(gaussian_filter(log.cpu().numpy(), SMOOTHING)).to(log)


def read_grid(grid: Float[Tensor, "r r r"], points: Float[Tensor, "k 3"]) -> Float[Tensor, "k"]:
    """Trilinear values at places in the cube [-1, 1]^3."""
    # grid_sample counts axes from the last to the first.
    places = points.flip(-1).view(1, 1, 1, -1, 3)
    return F.grid_sample(grid[None, None], places, align_corners=True).view(-1)


@torch.no_grad()
def peaks(grid: Float[Tensor, "r r r"], orbit: Orbit, resolution: int) -> Float[Tensor, "n"]:
    """The highest value of the grid along each ray of square images: a level of the grid covers exactly the
    rays whose peak is above it."""
    origins, directions = orbit.to(grid.device).rays(resolution)
    near, far = sphere_span(origins, directions)
    highest = torch.full_like(near, float(grid.min()))
    hit = (far > near).nonzero()[:, 0]
    step = 2 / len(grid)  # a cell
    count = int(2 / step) + 1
    for rays in hit.split(max(1, CHUNK // count)):
        o, d, s, e = (part[rays] for part in (origins, directions, near, far))
        along = torch.minimum(s[:, None] + step * torch.arange(count, device=s.device), e[:, None])
        points = o[:, None] + along[..., None] * d[:, None]
        highest[rays] = read_grid(grid, points.view(-1, 3)).view(along.shape).amax(1)
    return highest


def silhouette_level(peak: Float[Tensor, "n"], shown: Bool[Tensor, "n"]) -> float:
    """The level of the log density whose silhouette overlaps best (intersection over union) with what renders
    show.

    Args:
        peak: Highest log density along each ray.
        shown: True for rays along which renders show the object.
    """
    levels, order = peak.sort(descending=True)
    overlap = shown[order].cumsum(0)
    rays = torch.arange(1, len(peak) + 1, device=peak.device)
    best = (overlap / (shown.sum() + rays - overlap)).argmax()
    return float(levels[best])


def solid(grid: Float[np.ndarray, "r r r"], level: float) -> Float[np.ndarray, "r r r"]:
    """The grid without what nobody misses: enclosed cavities are filled, crumbs are taken away.

    Raises:
        UserError: Nothing is above the level.
    """
    from skimage.measure import label

    empty = np.asarray(label(np.pad(grid <= level, 1, constant_values=True), connectivity=1))
    parts = np.asarray(label((empty != empty[0, 0, 0])[1:-1, 1:-1, 1:-1], connectivity=3))
    volumes = np.bincount(parts.ravel())
    volumes[0] = 0
    if not volumes.any():
        raise UserError("there is nothing to export: the object is all fog; train it for longer")
    kept = (volumes >= SMALLEST_PART * volumes.max())[parts]
    filled = np.where(kept & (grid <= level), grid.max(), grid)
    return np.where(~kept & (grid > level), grid.min(), filled)


def triangles(
    grid: Float[np.ndarray, "r r r"], level: float, most: int
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """Vertices, and faces, counter-clockwise from outside, of a level of a grid over [-1, 1]^3. What reaches
    its border is closed there.

    Args:
        most: Number of faces at which decimation by quadric errors aims (Garland and Heckbert 1997); many
            small parts keep more.
    """
    from fast_simplification import simplify
    from skimage.measure import marching_cubes

    closed = np.pad(grid, 1, constant_values=grid.min())
    vertices, faces, _, _ = marching_cubes(closed, level, gradient_direction="ascent")
    vertices = (vertices - 1) * (2 / (len(grid) - 1)) - 1
    if len(faces) <= most:
        return vertices.astype(np.float64), faces.astype(np.int64)
    whole, found = (vertices.astype(np.float32), faces.astype(np.int32)), []
    for aggressiveness in GENTLE:
        fewer, corners, *_ = simplify(*whole, target_count=most, agg=aggressiveness)
        found.append((fewer.astype(np.float64), unfolded(corners.astype(np.int64))))
        if len(found[-1][1]) <= most and is_closed(found[-1][1]):
            return found[-1]
    return found[0]


def unfolded(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "g 3"]:
    """The faces without those that lie back to back, between the same vertices: they enclose nothing, and are
    what joins two sheets at an edge."""
    _, same, count = np.unique(np.sort(faces, axis=1), axis=0, return_inverse=True, return_counts=True)
    return faces[count[same.ravel()] == 1]


def is_closed(faces: Int[np.ndarray, "f 3"]) -> bool:
    """True where every edge is one of exactly two faces, which run along it in opposite directions."""
    edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    ways = np.unique(edges, axis=0)
    return (
        len(faces) > 0 and len(ways) == len(edges) and np.array_equal(ways, np.unique(edges[:, ::-1], axis=0))
    )
