import math

import pytest
import torch

from bridge_nerf.nerf.scene.surface import albedo, depth, normals

ORIGIN = torch.tensor([[3.0, 0, 0]])
TOWARDS_THE_MIDDLE = torch.tensor([[-1.0, 0, 0]])


def test_a_surface_is_where_half_of_the_light_is_stopped() -> None:
    sums = torch.tensor([[0.3, 0.15, 0.0, 0.6, 1.2], [0.24, 0.12, 0.0, 0.48, 0.96]])
    torch.testing.assert_close(albedo(sums), torch.tensor([[0.5, 0.25, 0.0], [1.0, 1.0, 1.0]]))
    expected = torch.tensor([[2.0], [3 + math.sqrt(3)]])
    torch.testing.assert_close(depth(sums, ORIGIN.expand(2, 3)), expected)


@pytest.mark.parametrize("gradient", [[0.0, 0.0, 1.0], [1.0, -2.0, 3.0]])
def test_normals_are_those_of_a_plane(gradient: list[float]) -> None:
    fall = torch.tensor(gradient)
    sums = torch.tensor([[0.0, 0, 0, 1, 3]])
    found = normals(lambda x: torch.exp(-(x @ fall)), sums, ORIGIN, TOWARDS_THE_MIDDLE)
    torch.testing.assert_close(found[0], fall / fall.norm())


def test_normals_are_finite_where_a_density_is_nothing() -> None:
    sums = torch.tensor([[0.0, 0, 0, 1, 3], [0.0, 0, 0, 0, 0]])
    pair = (ORIGIN.expand(2, 3), TOWARDS_THE_MIDDLE.expand(2, 3))
    found = normals(lambda x: torch.zeros(len(x)), sums, *pair)
    assert torch.equal(found, torch.zeros(2, 3))


def test_the_normal_of_a_shell_points_outwards() -> None:
    def shell(x: torch.Tensor) -> torch.Tensor:
        return 60 * torch.exp(-((x.norm(dim=-1) - 0.5) ** 2) / 0.05**2)

    # Most of the light is stopped behind the shell's middle, where the density falls inwards.
    sums = torch.tensor([[0.0, 0, 0, 1, 2.52]])
    found = normals(shell, sums, ORIGIN, TOWARDS_THE_MIDDLE)
    torch.testing.assert_close(found, -TOWARDS_THE_MIDDLE)
