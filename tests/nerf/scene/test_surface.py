import math

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.nerf.scene.surface import AROUND, LEVEL, Density, albedo, depth_and_normals

ORIGIN = torch.tensor([[3.0, 0, 0]])
TOWARDS_THE_MIDDLE = torch.tensor([[-1.0, 0, 0]])


def seen(density: Density, opacity: float, expected: float) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
    """The place and the normal of the surface of one ray."""
    sums = torch.tensor([[0.0, 0, 0, opacity, opacity * expected]])
    depth, normals = depth_and_normals(density, sums, ORIGIN, TOWARDS_THE_MIDDLE)
    return (ORIGIN + depth * TOWARDS_THE_MIDDLE)[0], normals[0]


def ball(x: Float[Tensor, "k 3"]) -> Float[Tensor, "k"]:
    """Reaches LEVEL at a distance of 0.5 from the middle."""
    return LEVEL * torch.exp(20 * (0.5 - x.norm(dim=-1)))


def test_a_surface_is_where_half_of_the_light_is_stopped() -> None:
    sums = torch.tensor([[0.3, 0.15, 0.0, 0.6, 1.2], [0.24, 0.12, 0.0, 0.48, 0.96]])
    torch.testing.assert_close(albedo(sums), torch.tensor([[0.5, 0.25, 0.0], [1.0, 1.0, 1.0]]))
    place, normal = seen(ball, 0.48, 2.5)
    torch.testing.assert_close(place[0], torch.tensor(-math.sqrt(3)))
    assert torch.equal(normal, torch.zeros(3))


@pytest.mark.parametrize("expected", [2.46, 2.5, 2.53, 2.62])
def test_it_lies_where_the_density_reaches_its_level_wherever_light_is_stopped(expected: float) -> None:
    place, normal = seen(ball, 0.9, expected)
    torch.testing.assert_close(place, torch.tensor([0.5, 0.0, 0.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(normal, torch.tensor([1.0, 0.0, 0.0]), atol=1e-3, rtol=0)


def test_the_first_level_counts_where_the_density_falls_behind_it() -> None:
    def shell(x: Float[Tensor, "k 3"]) -> Float[Tensor, "k"]:
        return 60 * torch.exp(-(((x.norm(dim=-1) - 0.5) / 0.05) ** 2))

    place, normal = seen(shell, 0.9, 2.53)
    assert 0.55 < place[0] < 0.6
    torch.testing.assert_close(normal, torch.tensor([1.0, 0.0, 0.0]), atol=1e-3, rtol=0)


def test_a_surface_far_before_the_expected_distance_is_as_far_as_it_is_looked_for() -> None:
    place, _ = seen(ball, 0.9, 2.8)
    torch.testing.assert_close(place, torch.tensor([0.2 - AROUND[0], 0.0, 0.0]))


def test_nothing_is_behind_the_camera() -> None:
    place, _ = seen(lambda x: torch.full_like(x[:, 0], 2 * LEVEL), 1.0, 0.05)
    assert torch.equal(place, ORIGIN[0])


def test_soft_matter_has_its_surface_at_the_expected_distance() -> None:
    place, _ = seen(lambda x: torch.full_like(x[:, 0], LEVEL / 2), 0.6, 2.7)
    torch.testing.assert_close(place, torch.tensor([0.3, 0.0, 0.0]))


@pytest.mark.parametrize("gradient", [[1.0, 0.0, 0.0], [1.0, -2.0, 3.0]])
def test_normals_are_those_of_a_plane(gradient: list[float]) -> None:
    fall = torch.tensor(gradient)
    _, normal = seen(lambda x: torch.exp(-(x @ fall)), 1.0, 3.0)
    torch.testing.assert_close(normal, fall / fall.norm())


def test_all_is_finite_where_a_density_is_nothing() -> None:
    place, normal = seen(lambda x: torch.zeros_like(x[:, 0]), 1.0, 3.0)
    assert torch.equal(place, torch.zeros(3)) and torch.equal(normal, torch.zeros(3))
