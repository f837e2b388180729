"""The raster, against a ray caster and against areas."""

import torch

from bridge_nerf.nerf.export.raster import Covered, nearest, rasterise


def test_two_triangles_cover_each_pixel_of_their_rectangle_once() -> None:
    corners = torch.tensor([[[1.0, 2], [7, 2], [7, 6.0]], [[1, 2], [7, 6], [1, 6]]])
    covered = rasterise(corners, 8, 9)
    rows, columns = covered.pixel // 9, covered.pixel % 9
    inside = {(r, c) for r in range(2, 6) for c in range(1, 7)}
    pixels = list(zip(rows.tolist(), columns.tolist(), strict=True))
    assert set(pixels) == inside
    assert len(pixels) - len(inside) <= 2, "a middle on the common edge is in both"


def test_barycentric_coordinates_give_the_pixels_middle_whatever_the_winding() -> None:
    corners = torch.rand(40, 3, 2, generator=torch.Generator().manual_seed(0)) * 30 - 5
    covered = rasterise(corners, 20, 16)
    middle = torch.stack([covered.pixel % 16, covered.pixel // 16], -1) + 0.5
    found = (corners[covered.face] * covered.at[..., None]).sum(1)
    torch.testing.assert_close(found, middle, atol=1e-4, rtol=0)
    a, b, c = corners.unbind(1)
    assert {True, False} == set((torch.linalg.det(torch.stack([b - a, c - a], -1)) > 0).tolist())


def test_no_pixel_is_missed_or_made_up() -> None:
    from matplotlib.path import Path

    corners = torch.rand(20, 3, 2, generator=torch.Generator().manual_seed(1)) * 24
    covered = rasterise(corners, 24, 24)
    rows, columns = torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    middles = torch.stack([columns, rows], -1).reshape(-1, 2) + 0.5
    for k, triangle in enumerate(corners):
        inside = torch.from_numpy(Path(triangle.numpy()).contains_points(middles.numpy()))
        assert set(covered.pixel[covered.face == k].tolist()) == set(inside.nonzero()[:, 0].tolist())


def test_what_has_no_area_or_lies_beside_covers_nothing() -> None:
    corners = torch.tensor(
        [[[1.0, 1], [5, 5], [3, 3]], [[20, 20], [30, 20], [20, 30]], [[-9, 0], [-2, 0], [-2, 8]]]
    )
    assert len(rasterise(corners, 8, 8).pixel) == 0


def test_the_nearest_of_several_is_kept_once() -> None:
    pixel, face = torch.tensor([3, 3, 5, 3]), torch.tensor([0, 1, 2, 3])
    covered = Covered(pixel, face, torch.eye(3)[[0, 1, 2, 0]])
    front = nearest(covered, torch.tensor([2.0, 1.0, 9.0, 1.0]), 8)
    assert dict(zip(front.pixel.tolist(), front.face.tolist(), strict=True)) == {3: 1, 5: 2}
