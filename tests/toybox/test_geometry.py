"""Ray casting against a brute-force march along the ray."""

import numpy as np
import pytest
import torch

from bridge_nerf.toybox.geometry import FAR, Part, PartBatch, affine, intersect, normals


def inside(part: Part, points: np.ndarray) -> np.ndarray:
    """Point membership, straight from the definition of the primitive."""
    x, y, z, _ = np.linalg.inv(part.local_to_world) @ np.concatenate([points, np.ones((len(points), 1))], 1).T
    if part.kind == "ball":
        return x * x + y * y + z * z < 1
    if part.kind == "box":
        return np.maximum(np.maximum(abs(x), abs(y)), abs(z)) < 1
    return (abs(z) < 1) & (x * x + y * y < ((part.taper + 1) / 2 + (part.taper - 1) / 2 * z) ** 2)


def random_part(kind: str, r: np.random.Generator) -> Part:
    place = affine(r.uniform(-0.4, 0.4, 3), r.uniform(0.2, 0.7, 3), r.uniform(-180, 180, 3))
    return Part(kind, place, (1.0, 0.0, 0.0), taper=r.uniform(0.0, 1.4))


@pytest.mark.parametrize("kind", ["ball", "box", "frustum"])
def test_first_hit_agrees_with_marching(kind):
    r = np.random.default_rng(3)
    reach = np.linspace(0, 6, 6001)
    for _ in range(6):
        parts = [random_part(kind, r), random_part("ball", r)]
        origin = r.normal(size=3)
        origin *= 3 / np.linalg.norm(origin)
        directions = -origin / 3 + 0.25 * r.normal(size=(24, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        batch = PartBatch.of(parts)
        distance, _ = intersect(
            batch,
            torch.tensor(origin[None], dtype=torch.float32),
            torch.tensor(directions, dtype=torch.float32),
        )
        for found, direction in zip(distance.tolist(), directions, strict=True):
            points = origin + reach[:, None] * direction
            within = inside(parts[0], points) | inside(parts[1], points)
            if within.sum() > 3:  # a graze thinner than the march's step may be missed by the march
                assert found == pytest.approx(reach[within.argmax()], abs=2e-3)
            elif not within.any():
                assert found == FAR or found > 0


def test_normals_are_the_gradient_of_the_surface():
    """Stepping along the normal leaves the part, stepping against it enters."""
    r = np.random.default_rng(5)
    for kind in ("ball", "box", "frustum"):
        part = random_part(kind, r)
        batch = PartBatch.of([part])
        origin = torch.tensor([[0.0, 0.2, 3.0]])
        target = torch.tensor(part.local_to_world[:3, 3], dtype=torch.float32)
        directions = torch.nn.functional.normalize(target - origin + 0.1 * torch.randn(60, 3), dim=-1)
        distance, index = intersect(batch, origin, directions)
        hit = distance < FAR
        assert hit.sum() > 20
        points = origin + distance[hit, None] * directions[hit]
        normal, _ = normals(batch, points, index[hit])
        assert torch.allclose(normal.norm(dim=-1), torch.ones(len(normal)), atol=1e-4)
        outward, inward = (points + 5e-3 * normal).numpy(), (points - 5e-3 * normal).numpy()
        assert inside(part, inward).mean() > 0.95 and not inside(part, outward).any()
