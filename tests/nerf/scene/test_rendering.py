"""Rendering, against closed forms and slow, obvious loops."""

import math

import pytest
import torch

from bridge_nerf.nerf.scene.rendering import (
    DARK,
    Samples,
    cell_middles,
    look,
    march,
    occupancy,
    ray_sums,
    sphere_span,
    weights,
    weighty,
)


def random_rays(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    origins = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=-1) * 3
    aims = 1.5 * torch.rand(n, 3, generator=generator) - 0.75
    return origins, torch.nn.functional.normalize(aims - origins, dim=-1)


def test_a_span_is_where_the_ray_is_inside_the_sphere() -> None:
    origins, directions = random_rays(200)
    near, far = sphere_span(origins, directions)
    s = torch.linspace(0, 6, 6001)
    inside = (origins[:, None] + s[:, None] * directions[:, None]).norm(dim=-1) < 1
    length = inside.sum(1) * (s[1] - s[0])
    torch.testing.assert_close(far - near, length, atol=3e-3, rtol=0)
    first = torch.where(inside.any(1), s[inside.float().argmax(1)], near)
    torch.testing.assert_close(near, first, atol=3e-3, rtol=0)


def test_misses_and_starts_inside() -> None:
    origins = torch.tensor([[3.0, 0, 0], [3.0, 0, 0], [0, 0, 0], [3.0, 0, 0]])
    directions = torch.tensor([[0.0, 1, 0], [1.0, 0, 0], [0, 0, 1.0], [-1.0, 0, 0]])
    near, far = sphere_span(origins, directions)
    assert near[0] == far[0], "beside it"
    assert near[1] == far[1], "behind the ray"
    assert (near[2], far[2]) == (0, 1)
    assert (near[3], far[3]) == (2, 4)


def test_samples_are_evenly_spaced_and_inside() -> None:
    origins, directions = random_rays(50)
    near, far = sphere_span(origins, directions)
    samples = march(origins, directions, near, far, 32, offsets=torch.rand(50, 1))
    assert samples.delta == 2 / 32
    assert (samples.positions.norm(dim=-1) <= 1 + 1e-5).all()
    again = origins[samples.rows] + samples.distances[:, None] * directions[samples.rows]
    torch.testing.assert_close(samples.positions, again)
    expected = (far - near) / samples.delta
    assert ((samples.rows.bincount(minlength=50) - expected).abs() <= 1).all()
    steps = samples.table(samples.distances).diff(dim=1)
    torch.testing.assert_close(steps[steps > 0], torch.full_like(steps[steps > 0], samples.delta))


def test_weights_against_a_loop() -> None:
    inside = torch.rand(5, 7) < 0.7
    density = 5 * torch.rand(int(inside.sum()))
    index = inside.flatten().nonzero()[:, 0]
    samples = Samples(torch.zeros(len(density), 3), torch.zeros(len(density)), index, (5, 7), 0.1)
    expected, values = torch.zeros(5, 7), iter(density.tolist())
    for i in range(5):
        left = 1.0
        for j in range(7):
            alpha = 1 - math.exp(-next(values) * 0.1) if inside[i, j] else 0.0
            expected[i, j] = left * alpha
            left *= 1 - alpha
    w = weights(density, samples)
    torch.testing.assert_close(samples.table(w), expected)
    colour = torch.rand(len(density), 3)
    full = torch.zeros(5, 7, 3).masked_scatter(inside[..., None], colour)
    torch.testing.assert_close(ray_sums(w, colour, samples), (expected[..., None] * full).sum(1))


def test_opacity_of_a_gaussian_cloud_converges_at_second_order() -> None:
    # Density exp(-|x|^2 / 2 s^2) along a line at distance b from the middle has a closed-form integral.
    s, b = 0.15, 0.1
    origin, direction = (
        torch.tensor([[3.0, b, 0.0]], dtype=torch.float64),
        torch.tensor([[-1.0, 0, 0]]).double(),
    )
    near, far = sphere_span(origin, direction)
    exact = 1 - math.exp(-10 * s * math.sqrt(2 * math.pi) * math.exp(-(b**2) / (2 * s**2)))
    for samples in (16, 32):
        marched = march(origin, direction, near, far, samples)
        density = 10 * torch.exp(-marched.positions.square().sum(-1) / (2 * s**2))
        opacity = weights(density, marched).sum().item()
        assert abs(opacity - exact) < 2 * (2 / samples) ** 2


def test_occupied_cells_change_nothing_that_is_visible() -> None:
    def density(x: torch.Tensor) -> torch.Tensor:
        return 40.0 * ((x - 0.2).norm(dim=-1) < 0.4)

    origins, directions = random_rays(100)
    span = sphere_span(origins, directions)
    cells = occupancy(density(cell_middles(24)), 1e-3)
    all_, some = march(origins, directions, *span, 64), march(origins, directions, *span, 64, occupied=cells)
    assert len(some.positions) < 0.4 * len(all_.positions)
    tables = (marched.table(weights(density(marched.positions), marched)) for marched in (some, all_))
    torch.testing.assert_close(*tables)


def test_a_ray_that_misses_has_no_samples() -> None:
    origins = torch.tensor([[3.0, 0, 0], [3.0, 0, 0]])
    directions = torch.tensor([[0.0, 1, 0], [-1.0, 0, 0]])
    samples = march(origins, directions, *sphere_span(origins, directions), 16)
    assert samples.rows.unique().tolist() == [1]
    assert samples.only(torch.zeros(len(samples.index), dtype=torch.bool)).table(torch.zeros(0)).shape == (
        2,
        16,
    )


def ball(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A hard ball off the middle within thin fog, coloured by place."""
    density = 120.0 * ((x - 0.2).norm(dim=-1) < 0.4) + 0.3 * (x.norm(dim=-1) < 0.7)
    return density, (x + 1) / 2


def empty(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(len(x)), (x + 1) / 2


def full(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full((len(x),), 1.5), (x + 1) / 2


@pytest.mark.parametrize("field", [ball, empty, full])
@pytest.mark.parametrize("samples", [1, 7, 33, 72])
@pytest.mark.parametrize("where", ["outside", "inside", "cropped"])
def test_a_look_sees_what_all_samples_add_up_to(field, samples: int, where: str) -> None:
    origins, directions = random_rays(301)
    if where == "inside":
        origins = origins * 0.1
    near, far = sphere_span(origins, directions)
    if where == "cropped":
        near, far = near.clamp_min(2.6), far.clamp_max(3.1)
        far = torch.maximum(near, far)
    cells = occupancy(field(cell_middles(24))[0], 1e-3)
    all_ = march(origins, directions, near, far, samples)
    density, colour = field(all_.positions)
    values = torch.cat([colour, torch.ones_like(density)[:, None], all_.distances[:, None]], -1)
    expected = ray_sums(weights(density, all_), values, all_)
    seen = look(field, origins, directions, near, far, samples, cells)
    # A depth is up to 4, and so is its error in units of the light that is left.
    torch.testing.assert_close(seen, expected, atol=5 * DARK, rtol=0)
    torch.testing.assert_close(seen[:, :4], expected[:, :4], atol=2 * DARK, rtol=0)


def test_a_look_asks_for_little() -> None:
    asked = []

    def counted(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append(len(x))
        return ball(x)

    origins, directions = random_rays(300)
    span = sphere_span(origins, directions)
    cells = occupancy(ball(cell_middles(24))[0], 1.0)
    occupied = march(origins, directions, *span, 72, occupied=cells)
    look(counted, origins, directions, *span, 72, cells)
    assert sum(asked) < 0.6 * len(occupied.positions), "nothing behind the surface"
    asked.clear()
    look(counted, origins, directions, *span, 72, torch.zeros_like(cells))
    assert not sum(asked), "nothing where nothing is"


@pytest.mark.parametrize("field", [ball, empty, full])
@pytest.mark.parametrize("least", [0.0, 1e-3, 0.05])
def test_the_weighty_samples_are_those_that_all_weights_tell(field, least: float) -> None:
    origins, directions = random_rays(301)
    samples = march(origins, directions, *sphere_span(origins, directions), 33)
    expected = samples.only(weights(field(samples.positions)[0], samples) > least)
    found = weighty(lambda x: field(x)[0], samples, least)
    assert torch.equal(found.index, expected.index)
    assert torch.equal(found.positions, expected.positions)


def test_nothing_behind_a_surface_is_asked_for_its_weight() -> None:
    asked = []

    def density(x: torch.Tensor) -> torch.Tensor:
        asked.append(len(x))
        return ball(x)[0]

    origins, directions = random_rays(300)
    cells = occupancy(ball(cell_middles(24))[0], 1.0)
    samples = march(origins, directions, *sphere_span(origins, directions), 48, occupied=cells)
    weighty(density, samples, 1e-3)
    assert sum(asked) < 0.8 * len(samples.index)
