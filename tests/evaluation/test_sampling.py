"""DDIM against a distribution whose samples are known."""

import pytest
import torch

from bridge_nerf.evaluation.sampling import ddim, sdedit
from bridge_nerf.priors.gaussian_mixture import GaussianMixture


class StubPrior:
    """The analytic mixture, dressed as an image prior: a latent (a, b) is the one-pixel image (a, b, 0)."""

    latent_shape = (2, 1, 1)
    image_size = 1
    device, dtype = torch.device("cpu"), torch.float32
    fingerprint = "mixture"

    def __init__(self) -> None:
        means = {"left": torch.tensor([-2.0, 0.0]), "right": torch.tensor([2.0, 1.0])}
        self.mixture = GaussianMixture.isotropic(means, 0.5)
        self.schedule, self.embed = self.mixture.schedule, self.mixture.embed

    def eps(self, x_t, t, condition):
        return self.mixture.eps(x_t.flatten(1), t, condition).view_as(x_t)

    def check_prompts(self, prompts):
        pass

    def encode(self, images):
        return images[:, :2]

    def decode(self, latents):
        return torch.cat([latents, torch.zeros_like(latents[:, :1])], 1)


@pytest.mark.parametrize("name, mean", [("left", (-2.0, 0.0)), ("right", (2.0, 1.0))])
def test_ddim_draws_from_the_prompted_gaussian(name, mean):
    x = ddim(StubPrior(), [name] * 2000, 100, 1.0, [torch.Generator().manual_seed(0)] * 2000)[:, :2, 0, 0]
    # the schedule's last alpha is 0.07, not 0: pure noise starts a little off the mean
    assert torch.allclose(x.mean(0), torch.tensor(mean), atol=0.12)
    assert torch.allclose(x.std(0), torch.full((2,), 0.5), atol=0.05)


def test_an_image_depends_on_its_own_generator_only():
    def draw(count: int) -> torch.Tensor:
        draws = [torch.Generator().manual_seed(k) for k in range(count)]
        return ddim(StubPrior(), ["left"] * count, 5, 2.0, draws)

    assert torch.equal(draw(3), draw(3)) and torch.allclose(draw(1), draw(3)[:1])


@pytest.mark.parametrize("strength", [0.2, 0.5, 0.8])
def test_sdedit_moves_a_image_as_far_as_the_probability_flow_says(strength):
    """N(m, s^2)'s flow leads from x_t to m + s (x_t - alpha m) / sqrt(alpha^2 s^2 + sigma^2)."""
    prior, n, s = StubPrior(), 4000, 0.5
    start, mean = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([-2.0, 0.0])
    draws = [torch.Generator().manual_seed(0)] * n
    images = start.view(1, 3, 1, 1).expand(n, -1, -1, -1)
    x = sdedit(prior, images, ["left"] * n, strength, 400, 1.0, draws)[:, :2, 0, 0]
    t = torch.tensor([round(strength * 999)])
    alpha, sigma = prior.schedule.alpha(t), prior.schedule.sigma(t)
    spread = (alpha**2 * s**2 + sigma**2).sqrt()
    torch.testing.assert_close(
        x.mean(0), (mean + s * alpha * (start[:2] - mean) / spread).float(), rtol=0, atol=0.05
    )
    torch.testing.assert_close(x.std(0), (s * sigma / spread).float().expand(2), rtol=0, atol=0.03)
