import numpy as np
import pytest
import torch
from scipy import stats

from bridge_nerf.distillation.prior import DiffusionPrior
from bridge_nerf.errors import UserError
from bridge_nerf.priors.gaussian_mixture import GaussianMixture
from bridge_nerf.seeding import generator

MIXTURE = GaussianMixture(
    ("left", "right", "flat"),
    torch.tensor([[-2.0, 0.0], [2.0, 1.0], [0.0, 3.0]], dtype=torch.float64),
    torch.tensor(
        [[[0.5, 0.2], [0.2, 0.3]], [[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, 0.0]]], dtype=torch.float64
    ),
    torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64),
)
T = torch.tensor([5, 100, 300, 600, 900, 999])
PROMPTS = ["", "left", "right", "left, right", "flat left", ""]
CONDITION = MIXTURE.embed(PROMPTS)
X_T = torch.randn(6, 2, generator=generator(0, "x"), dtype=torch.float64)


def test_it_is_a_prior():
    assert isinstance(MIXTURE, DiffusionPrior)


def test_prompts_select_components():
    expected = [[1, 2, 1], [1, 0, 0], [0, 2, 0], [1, 2, 0], [1, 0, 1], [1, 2, 1]]
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(CONDITION.embedding, expected / expected.sum(1, keepdim=True))


def test_an_unknown_word_is_named_with_what_is_known():
    with pytest.raises(UserError, match=r"'up'.*left, right, flat"):
        MIXTURE.embed(["left up"])


def test_log_density_against_scipy():
    ours = MIXTURE.log_density(X_T, T, CONDITION)
    for i, t in enumerate(T.tolist()):
        abar = MIXTURE.schedule.alphas_cumprod[t].item()
        density = sum(
            weight.item()
            * stats.multivariate_normal(np.sqrt(abar) * mean, abar * cov + (1 - abar) * np.eye(2)).pdf(X_T[i])
            for weight, mean, cov in zip(
                CONDITION.embedding[i], MIXTURE.means.numpy(), MIXTURE.covariances.numpy(), strict=True
            )
        )
        assert ours[i].item() == pytest.approx(np.log(density), rel=1e-9)


def test_eps_is_minus_sigma_times_the_score():
    x_t = X_T.clone().requires_grad_()
    (score,) = torch.autograd.grad(MIXTURE.log_density(x_t, T, CONDITION).sum(), x_t)
    sigma = MIXTURE.schedule.sigma(T)[:, None]
    torch.testing.assert_close(MIXTURE.eps(X_T, T, CONDITION), -sigma * score)


def test_eps_is_the_expected_noise():
    """E[noise | x_t] by importance weights: the definition, without any score."""
    t, n = torch.tensor([400]), 200_000
    x = MIXTURE.sample(MIXTURE.embed([""]).expand(n), generator(1, "x"))
    alpha, sigma = MIXTURE.schedule.alpha(t), MIXTURE.schedule.sigma(t)
    noise = (X_T[:1] - alpha * x) / sigma
    weights = (-0.5 * noise.square().sum(1)).softmax(0)[:, None]
    expected = (weights * noise).sum(0, keepdim=True)
    torch.testing.assert_close(MIXTURE.eps(X_T[:1], t, MIXTURE.embed([""])), expected, atol=0.02, rtol=0)


def test_samples_have_the_moments_of_the_mixture():
    draw = MIXTURE.sample(MIXTURE.embed(["left, right"]).expand(50_000), generator(0, "sample"))
    weights = torch.tensor([1 / 3, 2 / 3], dtype=torch.float64)
    mean = weights @ MIXTURE.means[:2]
    second = MIXTURE.covariances[:2] + MIXTURE.means[:2, :, None] * MIXTURE.means[:2, None]
    covariance = torch.einsum("k,kde->de", weights, second) - torch.outer(mean, mean)
    torch.testing.assert_close(draw.mean(0), mean, atol=0.03, rtol=0)
    torch.testing.assert_close(draw.T.cov(), covariance, atol=0.08, rtol=0)


def test_samples_of_one_component_follow_it():
    draw = MIXTURE.sample(MIXTURE.embed(["left"]).expand(5000), generator(0, "sample"))
    assert stats.kstest(draw[:, 1].numpy(), stats.norm(0, np.sqrt(0.3)).cdf).pvalue > 0.01


def test_any_shape_and_single_precision():
    images = GaussianMixture.isotropic({"a": torch.zeros(12), "b": torch.ones(12)}, 0.3)
    x_t = torch.randn(2, 3, 2, 2, generator=generator(0))
    answer = images.eps(x_t, torch.tensor([10, 700]), images.embed(["a", ""]))
    assert answer.shape == x_t.shape and answer.dtype == torch.float32


def test_far_from_everything_stays_finite():
    x_t = torch.full((6, 2), 1e4, dtype=torch.float64)
    assert torch.isfinite(MIXTURE.eps(x_t, T, CONDITION)).all()
