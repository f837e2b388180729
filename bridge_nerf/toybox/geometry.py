"""Ray casting against affine quadrics: every toy is built from three primitives under affine maps.

Letters: a ray is o + s d (o the camera, one for all rays; d a unit vector a ray; s > 0 the distance). A
part's own ("local") space is where it is canonical: the unit ball, the cube [-1, 1]^3, or the frustum |z| <=
1 whose radius runs linearly from 1 at z = -1 to `taper` at z = 1 (taper 1: a cylinder, taper 0: a cone). P
parts, R rays.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

KINDS = ("ball", "box", "frustum")
PATTERNS = ("plain", "diamonds", "dots", "rings", "ribs")
FAR = 1e6
"""Distance that stands for "no hit"."""


@dataclass(frozen=True)
class Part:
    """One primitive: `local_to_world` (4x4) places it; `colour` and `second` are RGB in [0, 1].

    `pattern` paints `second` over `colour`: diamonds (a lattice around the axis), dots, rings (along z), ribs
    (around z).
    """

    kind: str
    local_to_world: np.ndarray
    colour: tuple[float, float, float]
    taper: float = 1.0
    pattern: str = "plain"
    second: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def moved(self, matrix: np.ndarray) -> Part:
        """The part under a further world-space affine map (4x4)."""
        return replace(self, local_to_world=matrix @ self.local_to_world)


def affine(centre=(0.0, 0.0, 0.0), size=(1.0, 1.0, 1.0), turn=(0.0, 0.0, 0.0)) -> np.ndarray:
    """4x4 map: scale by `size` (half-extents), turn by degrees about x, then y, then z, move to `centre`."""
    x, y, z = np.radians(turn)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_z @ about_y @ about_x @ np.diag(np.broadcast_to(np.asarray(size, float), 3))
    matrix[:3, 3] = centre
    return matrix


@dataclass(frozen=True)
class PartBatch:
    """Parts as tensors, sorted by kind so that each kind is intersected in one vectorised call."""

    world_to_local: Float[Tensor, "p 3 4"]
    kind: Int[Tensor, "p"]
    colour: Float[Tensor, "p 3"]
    second: Float[Tensor, "p 3"]
    pattern: Int[Tensor, "p"]
    taper: Float[Tensor, "p"]
    spans: tuple[tuple[int, int], ...] = field(default=())

    @classmethod
    def of(cls, parts: list[Part]) -> PartBatch:
        """Pack parts; raises KeyError/ValueError for an unknown kind or pattern."""
        parts = sorted(parts, key=lambda part: KINDS.index(part.kind))
        kinds = [KINDS.index(part.kind) for part in parts]
        starts = [kinds.index(k) if k in kinds else 0 for k in range(len(KINDS))]
        inverse = np.stack([np.linalg.inv(part.local_to_world)[:3] for part in parts])

        def tensor(values):
            return torch.tensor(np.asarray(values), dtype=torch.float32)

        return cls(
            world_to_local=tensor(inverse),
            kind=torch.tensor(kinds),
            colour=tensor([part.colour for part in parts]),
            second=tensor([part.second for part in parts]),
            pattern=torch.tensor([PATTERNS.index(part.pattern) for part in parts]),
            taper=tensor([part.taper for part in parts]),
            spans=tuple((start, start + kinds.count(k)) for k, start in enumerate(starts)),
        )


def _first_positive(near: Tensor, far: Tensor, hit: Tensor, least: float) -> Tensor:
    s = torch.where(near > least, near, far)
    return torch.where(hit & (s > least), s, FAR)


def _ball(o: Tensor, d: Tensor, least: float) -> Tensor:
    a, b, c = (d * d).sum(-1), (o * d).sum(-1), (o * o).sum(-1) - 1
    root = b * b - a * c
    width = root.clamp_min(0).sqrt()
    return _first_positive((-b - width) / a, (-b + width) / a, root > 0, least)


def _slab(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    safe = torch.where(d.abs() < 1e-9, torch.full_like(d, 1e-9), d)
    one, two = (-1 - o) / safe, (1 - o) / safe
    return torch.minimum(one, two), torch.maximum(one, two)


def _box(o: Tensor, d: Tensor, least: float) -> Tensor:
    low, high = _slab(o, d)
    near, far = low.amax(-1), high.amin(-1)
    return _first_positive(near, far, near < far, least)


def _frustum(o: Tensor, d: Tensor, taper: Tensor, least: float) -> Tensor:
    """The convex body (inside of the side's quadric) intersected with |z| <= 1; the nearest valid
    crossing.
    """
    slope, middle = (taper - 1) / 2, (taper + 1) / 2  # radius(z) = middle + slope z
    ro, rd = middle + slope * o[..., 2], slope * d[..., 2]
    a = d[..., 0] ** 2 + d[..., 1] ** 2 - rd**2
    b = o[..., 0] * d[..., 0] + o[..., 1] * d[..., 1] - ro * rd
    c = o[..., 0] ** 2 + o[..., 1] ** 2 - ro**2
    a = torch.where(a.abs() < 1e-9, torch.full_like(a, 1e-9), a)
    root = b * b - a * c
    width = root.clamp_min(0).sqrt()
    low, high = _slab(o[..., 2], d[..., 2])
    best = torch.full_like(b, FAR)
    for s in ((-b - width) / a, (-b + width) / a):
        best = torch.where((root > 0) & (s > least) & (s >= low) & (s <= high) & (s < best), s, best)
    for s in (low, high):
        z = o[..., 2] + s * d[..., 2]
        reach = (middle + slope * z).square()
        inside = (o[..., 0] + s * d[..., 0]) ** 2 + (o[..., 1] + s * d[..., 1]) ** 2 <= reach
        best = torch.where(inside & (s > least) & (s < best), s, best)
    return best


def intersect(
    parts: PartBatch, origins: Float[Tensor, "#r 3"], directions: Float[Tensor, "#r 3"], least: float = 1e-3
) -> tuple[Float[Tensor, "r"], Int[Tensor, "r"]]:
    """Distance along each ray to the first part hit (FAR where none) and that part's index."""
    distances = []
    for kind, (start, end) in zip(KINDS, parts.spans, strict=True):
        if start == end:
            continue
        matrix = parts.world_to_local[start:end]
        o = torch.einsum("pij,rj->pri", matrix[:, :, :3], origins) + matrix[:, None, :, 3]
        d = torch.einsum("pij,rj->pri", matrix[:, :, :3], directions)
        if kind == "ball":
            distances.append(_ball(o, d, least))
        elif kind == "box":
            distances.append(_box(o, d, least))
        else:
            distances.append(_frustum(o, d, parts.taper[start:end, None], least))
    nearest, index = torch.cat(distances).min(0)
    return nearest, index


def normals(
    parts: PartBatch, points: Float[Tensor, "r 3"], index: Int[Tensor, "r"]
) -> tuple[Float[Tensor, "r 3"], Float[Tensor, "r 3"]]:
    """Outward unit normals (world space) of the hit parts, and the points in the parts' local space."""
    matrix = parts.world_to_local[index]
    local = torch.einsum("rij,rj->ri", matrix[:, :, :3], points) + matrix[:, :, 3]
    kind, taper = parts.kind[index], parts.taper[index]
    largest = local.abs().argmax(-1)
    box = torch.nn.functional.one_hot(largest, 3) * local.sign()
    radius = (taper + 1) / 2 + (taper - 1) / 2 * local[:, 2]
    side = torch.stack([local[:, 0], local[:, 1], radius * (1 - taper) / 2], -1)
    cap = torch.stack([torch.zeros_like(radius), torch.zeros_like(radius), local[:, 2].sign()], -1)
    frustum = torch.where((local[:, 2].abs() > 1 - 1e-3)[:, None], cap, side)
    normal = torch.where((kind == 0)[:, None], local, torch.where((kind == 1)[:, None], box, frustum))
    normal = torch.einsum("rij,ri->rj", matrix[:, :, :3], normal)  # normals map by the inverse transpose
    return torch.nn.functional.normalize(normal, dim=-1), local


def paint(parts: PartBatch, local: Float[Tensor, "r 3"], index: Int[Tensor, "r"]) -> Float[Tensor, "r 3"]:
    """Albedo in [0, 1]: the part's colour with its pattern, from local coordinates."""
    angle, z = torch.atan2(local[:, 1], local[:, 0]), local[:, 2]
    pattern = parts.pattern[index]
    turns = angle * (9 / (2 * torch.pi))
    diamonds = torch.maximum((turns + 4.5 * z).frac().abs(), (turns - 4.5 * z).frac().abs()) > 0.78
    golden = torch.tensor(GOLDEN_DOTS, dtype=local.dtype)
    dots = (torch.nn.functional.normalize(local, dim=-1) @ golden.T).amax(-1) > 0.965
    rings = (z * 3.5).frac().abs() > 0.72
    ribs = (angle * (12 / (2 * torch.pi))).frac().abs() > 0.7
    weight = (
        (diamonds & (pattern == 1))
        | (dots & (pattern == 2))
        | (rings & (pattern == 3))
        | (ribs & (pattern == 4))
    ).to(local.dtype)[:, None]
    return parts.colour[index] * (1 - weight) + parts.second[index] * weight


def _golden_dots(count: int = 26) -> list[tuple[float, float, float]]:
    k = np.arange(count) + 0.5
    z, angle = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
    ring = np.sqrt(1 - z * z)
    return list(zip(ring * np.cos(angle), ring * np.sin(angle), z, strict=True))


GOLDEN_DOTS = _golden_dots()
