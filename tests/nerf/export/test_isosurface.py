"""The isosurface, against ellipsoids."""

import math

import numpy as np
import pytest
import torch
from skimage.measure import label

from bridge_nerf.errors import UserError
from bridge_nerf.nerf.export.isosurface import (
    density_grid,
    is_closed,
    peaks,
    read_grid,
    silhouette_level,
    solid,
    triangles,
    unfolded,
)
from tests.nerf.export.conftest import CENTRE, RADII

BOX = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])
"""A tetrahedron."""


def ball(r: int, centre: tuple[float, float, float], radius: float) -> np.ndarray:
    axis = np.linspace(-1, 1, r)
    x = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    return (radius - np.linalg.norm(x - np.array(centre), axis=-1)).astype(np.float32)


def test_the_grid_reads_back_where_it_was_read(egg) -> None:
    grid = density_grid(egg, 64)
    assert grid.shape == (64, 64, 64)
    inside, outside = torch.tensor([[0.1, -0.05, 0.0]]), torch.tensor([[0.1, -0.05, 0.9]])
    assert float(read_grid(grid, inside)) == pytest.approx(math.log(200), abs=0.1)
    assert float(read_grid(grid, outside)) < 0
    assert float(grid[0, 0, 0]) < -13, "the cube's corner is outside of the ball"
    index = (25, 40, 31)
    place = torch.tensor([[2 * k / 63 - 1 for k in index]])
    torch.testing.assert_close(read_grid(grid, place)[0], grid[index], atol=1e-3, rtol=0)


def test_a_level_covers_the_rays_whose_peak_is_above_it(around) -> None:
    grid = torch.from_numpy(ball(64, (0, 0, 0), 0.5))
    covered = (peaks(grid, around, 48) > 0).view(6, 48, 48)
    # A ball's silhouette is a disc whose sine is radius over distance.
    focal = float(around.focal(48)[0])
    radius = focal * math.tan(math.asin(0.5 / 3.3))
    assert covered.float().sum((1, 2)).numpy() == pytest.approx(math.pi * radius**2, rel=0.03)


def test_the_best_level_is_found_among_all() -> None:
    rng = torch.Generator().manual_seed(0)
    peak, shown = torch.randn(500, generator=rng), torch.rand(500, generator=rng) < 0.3

    def overlap(level: float) -> float:
        covered = peak >= level
        return float((covered & shown).sum() / (covered | shown).sum())

    assert overlap(silhouette_level(peak, shown)) == max(map(overlap, peak.tolist()))


def test_cavities_are_filled_and_crumbs_taken_away() -> None:
    shell = np.minimum(ball(48, (0, 0, 0), 0.6), -ball(48, (0, 0, 0), 0.3))
    grid = np.maximum(shell, ball(48, (0.8, 0.5, 0.5), 0.08))
    kept = solid(grid, 0.0) > 0
    assert label(kept).max() == 1 and kept[24, 24, 24]
    assert np.array_equal(kept, ball(48, (0, 0, 0), 0.6) > 0)
    with pytest.raises(UserError, match="nothing to export"):
        solid(grid, 5.0)


def test_a_ball_is_closed_and_has_a_balls_volume_before_and_after_decimation() -> None:
    from trimesh import Trimesh

    grid = ball(48, (0.1, 0.0, -0.2), 0.6)
    for most in (10**6, 1000):
        vertices, faces = triangles(grid, 0.0, most)
        mesh = Trimesh(vertices, faces, process=False)
        assert is_closed(faces) and mesh.is_watertight and len(faces) <= most
        assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.6**3, rel=0.01), "outwards, in size"
        assert mesh.center_mass == pytest.approx([0.1, 0.0, -0.2], abs=0.01)


def test_what_reaches_the_border_is_closed_there() -> None:
    assert is_closed(triangles(ball(24, (0.9, 0, 0), 0.5), 0.0, 10**6)[1])


def test_closed_means_two_faces_at_each_edge_of_opposite_ways() -> None:
    assert is_closed(BOX)
    assert not is_closed(BOX[:-1])
    assert not is_closed(np.concatenate([BOX[:-1], BOX[-1:, ::-1]]))
    assert not is_closed(np.concatenate([BOX, BOX]))


def test_faces_that_lie_back_to_back_go() -> None:
    fold = np.array([[0, 1, 4], [1, 0, 4]])
    assert not is_closed(np.concatenate([BOX, fold]))
    assert np.array_equal(unfolded(np.concatenate([BOX, fold])), BOX)


def test_the_egg_has_its_own_extent(egg, around) -> None:
    grid = density_grid(egg, 96)
    vertices, _ = triangles(solid(grid.numpy(), math.log(20.0)), math.log(20.0), 10**6)
    middle, half = (vertices.max(0) + vertices.min(0)) / 2, (vertices.max(0) - vertices.min(0)) / 2
    assert middle == pytest.approx(CENTRE.numpy(), abs=0.02), "without the crumb"
    assert half == pytest.approx(RADII.numpy() * 1.08, abs=0.04)
