"""Draws of a step: what they depend on, and on what not."""

import torch

from bridge_nerf.annealing import TimestepRange
from bridge_nerf.guidance.rng import PerImageDraws, PerStepDraws
from bridge_nerf.seeding import generator

X, TIMES, T = torch.zeros(4, 3, 2, 2), TimestepRange(0.1, 0.9), 1000


def test_an_images_draws_depend_on_its_seed_and_not_on_the_batch() -> None:
    together = PerImageDraws((5, 6), transforms=2).sample(X, 7, TIMES, T)
    for k, seed in enumerate((5, 6)):
        alone = PerImageDraws((seed,), transforms=2).sample(X[:2], 7, TIMES, T)
        assert torch.equal(together.t[[k, k + 2]], alone.t)
        assert torch.equal(together.noise[[k, k + 2]], alone.noise)


def test_the_transforms_of_an_image_share_t_and_have_noise_of_their_own() -> None:
    sample = PerImageDraws((5, 6), transforms=2).sample(X, 7, TIMES, T)
    assert torch.equal(sample.t[:2], sample.t[2:]) and not torch.equal(sample.noise[:2], sample.noise[2:])


def test_a_scenes_draws_are_those_of_its_seed_and_step() -> None:
    sample = PerStepDraws(3).sample(X, 7, TIMES, T)
    assert torch.equal(sample.noise, torch.randn(X.shape, generator=generator(3, "noise", 7)))
    assert sample.t.min() >= 100 and sample.t.max() <= 900
    again, later = (PerStepDraws(3).sample(X, step, TIMES, T) for step in (7, 8))
    assert torch.equal(again.t, sample.t) and not torch.equal(later.noise, sample.noise)


def test_the_adapter_learns_at_draws_of_its_own() -> None:
    for draws in (PerImageDraws((1, 2, 3, 4)), PerStepDraws(1)):
        for other in ("t", "noise"):
            one, two = (draws.sample(X, 0, TIMES, T, purpose) for purpose in ("", "adapter"))
            assert not torch.equal(getattr(one, other), getattr(two, other))
