"""Triangles on a raster of pixels, on any machine: for texels to bake, and to look at a mesh."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

CANDIDATES = 1 << 22
"""Number of pixels that are tested together."""


class Covered(NamedTuple):
    """k pairs of a pixel and a triangle that holds its middle."""

    pixel: Int[Tensor, "k"]
    """Indices into the rows of pixels, one after the other."""
    face: Int[Tensor, "k"]
    at: Float[Tensor, "k 3"]
    """Barycentric coordinates in the plane of the raster."""


def rasterise(triangles: Float[Tensor, "f 3 2"], height: int, width: int) -> Covered:
    """Every pixel whose middle lies in a triangle, for each such triangle.

    Args:
        triangles: Corners as (column, row) in pixels, from the raster's upper left corner; of either
            winding. Those without area cover nothing.
    """
    low = (triangles.amin(1) - 0.5).ceil().long().clamp_min(0)
    high = (triangles.amax(1) - 0.5).floor().long()
    high = torch.minimum(high, torch.tensor([width - 1, height - 1], device=high.device))
    sides = (high - low + 1).clamp_min(0)
    counts = sides.prod(1)
    found: list[Covered] = []
    ends = counts.cumsum(0)
    start = 0
    while start < len(counts):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(torch.searchsorted(ends, before + CANDIDATES, right=True)))
        faces = torch.arange(start, stop, device=counts.device)
        found.append(_tested(triangles, low, sides, faces.repeat_interleave(counts[start:stop]), width))
        start = stop
    return Covered(*(torch.cat(part) for part in zip(*found, strict=True)))


def _tested(
    triangles: Float[Tensor, "f 3 2"],
    low: Int[Tensor, "f 2"],
    sides: Int[Tensor, "f 2"],
    face: Int[Tensor, "k"],
    width: int,
) -> Covered:
    """The pixels that their triangles hold, of all in their bounding boxes."""
    # Within its box a pixel has the number of entries since the first of the same triangle.
    _, count = face.unique_consecutive(return_counts=True)
    number = torch.arange(len(face), device=face.device) - (count.cumsum(0) - count).repeat_interleave(count)
    across = sides[face, 0]
    column, row = low[face, 0] + number % across, low[face, 1] + number // across
    middle = torch.stack([column, row], -1) + 0.5
    a, b, c = triangles[face].double().unbind(1)
    area = _cross(b - a, c - a)
    at = torch.stack([_cross(b - middle, c - middle), _cross(c - middle, a - middle)], -1) / area[:, None]
    at = torch.cat([at, 1 - at.sum(-1, keepdim=True)], -1)
    inside = (at >= 0).all(-1) & (area != 0)
    kept = at[inside].to(triangles.dtype)
    return Covered((row * width + column)[inside], face[inside], kept)


def _cross(a: Float[Tensor, "k 2"], b: Float[Tensor, "k 2"]) -> Float[Tensor, "k"]:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def interpolate(
    values: Float[Tensor, "v c"], faces: Int[Tensor, "f 3"], face: Int[Tensor, "k"], at: Float[Tensor, "k 3"]
) -> Float[Tensor, "k c"]:
    """Values of the vertices at k barycentric places."""
    return (values[faces[face]] * at[..., None]).sum(1)


def nearest(covered: Covered, depth: Float[Tensor, "k"], pixels: int) -> Covered:
    """Of each pixel the entry of least depth, the first of several equal ones."""
    least = depth.new_full((pixels,), torch.inf).scatter_reduce_(0, covered.pixel, depth, "amin")
    front = (depth <= least[covered.pixel]).nonzero()[:, 0]
    order = torch.full((pixels,), len(depth), device=front.device).scatter_reduce_(
        0, covered.pixel[front], front, "amin"
    )
    chosen = order[order < len(depth)]
    return Covered(*(part[chosen] for part in covered))
