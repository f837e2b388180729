import math
from collections.abc import Callable

import pytest
import torch

from bridge_nerf.nerf.scene.regularisers import distortion, entropy, sparsity

ALL = torch.ones(4, dtype=torch.bool)


def test_distortion_against_the_double_sum() -> None:
    w, s = torch.rand(6, 9) / 9, torch.rand(6, 9).sort(dim=1).values
    pairs = (w[:, :, None] * w[:, None, :] * (s[:, :, None] - s[:, None, :]).abs()).sum((1, 2))
    hit = torch.tensor([1, 1, 0, 1, 0, 1]).bool()
    expected = (pairs + (w**2).sum(1) * 0.2 / 3)[hit].mean()
    torch.testing.assert_close(distortion(w, s, 0.2, hit), expected)


def test_entropy_is_for_hit_or_miss() -> None:
    assert torch.isclose(entropy(torch.full((3,), 0.5), ALL[:3]), torch.tensor(math.log(2)))
    assert entropy(torch.tensor([0.0, 1.0]), ALL[:2]) < 0.01
    opacity = torch.tensor([0.3, 0.7], requires_grad=True)
    entropy(opacity, ALL[:2]).backward()
    assert opacity.grad is not None
    assert opacity.grad[0] > 0 > opacity.grad[1], "descent thins the thin and thickens the thick"


def test_sparsity_prefers_nothing() -> None:
    assert torch.isclose(sparsity(torch.zeros(4), ALL), torch.tensor(0.1))
    assert sparsity(torch.ones(4), ALL) > 1


@pytest.mark.parametrize("term", [entropy, sparsity])
def test_rays_that_miss_are_not_counted(term: Callable) -> None:
    opacity, hit = torch.tensor([0.3, 0.0, 0.9, 0.0]), torch.tensor([True, False, True, False])
    torch.testing.assert_close(term(opacity, hit), term(opacity[hit], ALL[:2]))
    assert term(opacity, ~ALL) == 0
