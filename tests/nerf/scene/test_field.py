import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator

from bridge_nerf.nerf.scene.field import BridgeField, FieldConfig, GridEncoding


def points(n: int) -> torch.Tensor:
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(1))
    return 0.99 * x / x.norm(dim=-1).clamp_min(1)[:, None]


@pytest.mark.parametrize("n", [0, 1, 5, 64])
def test_grid_features_are_trilinear(n: int) -> None:
    encoding = GridEncoding((5, 8), 2)
    x = points(n)
    features = encoding(x).detach().numpy()
    assert features.shape == (n, 4)
    for level, grid in enumerate(encoding.grids):
        axis = np.linspace(-1, 1, grid.shape[-1])
        for channel in range(2):
            # grid_sample wants (x, y, z) for a tensor of (z, y, x).
            table = grid[0, channel].detach().numpy().transpose(2, 1, 0)
            expected = RegularGridInterpolator((axis, axis, axis), table)(x.numpy()) if n else np.zeros(0)
            np.testing.assert_allclose(features[:, 2 * level + channel], expected, atol=1e-6)


@pytest.mark.parametrize("encoding", ["grid", "hash"])
def test_density_and_colour_have_gradients_everywhere(encoding) -> None:
    field = BridgeField(FieldConfig(encoding=encoding, hash_levels=2, hash_max_resolution=32))
    density, colour = field(points(50))
    assert (density > 0).all()
    assert ((colour > 0) & (colour < 1)).all()
    (density.log().sum() + colour.sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in field.parameters() if p.requires_grad)


def test_it_starts_as_a_soft_ball() -> None:
    field = BridgeField(FieldConfig())
    density, _ = field(torch.tensor([[0.0, 0, 0], [0.45, 0, 0], [0, 0.9, 0]]))
    assert density[0] > 20 * density[1] > 400 * density[2]


def test_the_densest_place_can_come_back() -> None:
    field = BridgeField(FieldConfig(blob_height=12.0))
    density, _ = field(torch.zeros(1, 3))
    density.sum().backward()
    bias = field.network[2].bias
    assert torch.isfinite(density).all()
    assert bias.grad is not None and bias.grad[0] > 0
