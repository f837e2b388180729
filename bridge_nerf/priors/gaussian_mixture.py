"""The analytic prior: a mixture of K Gaussians in d dimensions, every answer in closed form.

    x ~ sum_k w_k N(m_k, S_k)   =>   x_t ~ sum_k w_k N(alpha m_k, C_k),   C_k = alpha^2 S_k + sigma^2 I
    eps(x_t) = -sigma grad log p(x_t) = sigma sum_k r_k C_k^-1 (x_t - alpha m_k)

with r_k the posterior probability of component k. S_k = U diag(lambda) U^T, so C_k is diagonal in the basis U
at every t. A prompt names components: it is a mixture of its own, with the other weights set to zero.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge_nerf.distillation.prior import Condition
from bridge_nerf.errors import UserError
from bridge_nerf.schedules import NoiseSchedule, expand_like


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """A diffusion prior (`DiffusionPrior`) that is exact.

    Args:
        names: One word a component, for prompts.
        means: m_k.
        covariances: S_k, symmetric, positive semidefinite.
        weights: w_k of the prompt "", positive; they need not sum to 1.
        schedule: The diffusion process.
    """

    names: tuple[str, ...]
    means: Float[Tensor, "k d"]
    covariances: Float[Tensor, "k d d"]
    weights: Float[Tensor, "k"]
    schedule: NoiseSchedule = field(default_factory=NoiseSchedule.scaled_linear)

    @classmethod
    def isotropic(
        cls,
        means: Mapping[str, Sequence[float] | Float[Tensor, "d"]],
        std: float,
        dtype: torch.dtype = torch.float64,
    ) -> "GaussianMixture":
        """Equally likely round components of one standard deviation."""
        rows = torch.stack([torch.as_tensor(mean, dtype=dtype) for mean in means.values()])
        k, d = rows.shape
        covariances = (std**2 * torch.eye(d, dtype=dtype)).repeat(k, 1, 1)
        return cls(tuple(means), rows, covariances, torch.ones(k, dtype=dtype))

    def embed(self, prompts: Sequence[str]) -> Condition:
        """Component weights, one row a prompt: "left, right" mixes two components, "" all.

        Raises:
            UserError: A word is not the name of a component.
        """
        rows = []
        for prompt in prompts:
            words = prompt.replace(",", " ").split()
            if unknown := set(words) - set(self.names):
                raise UserError(
                    f"unknown word {sorted(unknown)[0]!r} in {prompt!r}; use {', '.join(self.names)}"
                )
            named = torch.tensor(
                [not words or name in words for name in self.names], device=self.weights.device
            )
            rows.append(self.weights * named)
        weights = torch.stack(rows)
        return Condition(weights / weights.sum(1, keepdim=True), says=tuple(prompts))

    def eps(
        self, x_t: Float[Tensor, "b *dims"], t: Int[Tensor, "b"], condition: Condition
    ) -> Float[Tensor, "b *dims"]:
        """The expected noise in x_t, exactly. The shape of a sample is free as long as it has d entries."""
        log_joint, whitened = self._components(x_t, t, condition)
        minus_score = torch.einsum("bk,kde,bke->bd", log_joint.softmax(1), self._spectrum[1], whitened)
        return expand_like(self.schedule.sigma(t), x_t) * minus_score.view_as(x_t).to(x_t.dtype)

    def log_density(
        self, x_t: Float[Tensor, "b *dims"], t: Int[Tensor, "b"], condition: Condition
    ) -> Float[Tensor, "b"]:
        """log p(x_t), in nats."""
        return self._components(x_t, t, condition)[0].logsumexp(1)

    def sample(self, condition: Condition, generator: torch.Generator) -> Float[Tensor, "b d"]:
        """Clean samples, one a row of the condition."""
        component = torch.multinomial(condition.embedding, 1, generator=generator)[:, 0]
        means = self.means[component]
        variances, basis = (value[component] for value in self._spectrum)
        noise = torch.randn(means.shape, generator=generator, dtype=means.dtype, device=means.device)
        return means + torch.einsum("bde,be->bd", basis, variances.sqrt() * noise)

    @cached_property
    def _spectrum(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k d d"]]:
        """(lambda, U) of every S_k."""
        variances, basis = torch.linalg.eigh(self.covariances)
        return variances.clamp(min=0), basis  # rounding may leave a zero variance just below zero

    def _components(
        self, x_t: Float[Tensor, "b *dims"], t: Int[Tensor, "b"], condition: Condition
    ) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k d"]]:
        """(log w_k N(x_t; alpha m_k, C_k), U^T C_k^-1 (x_t - alpha m_k)), in the precision of the means."""
        variances, basis = self._spectrum
        x = x_t.flatten(1).to(self.means.dtype)[:, None]
        alpha, sigma = expand_like(self.schedule.alpha(t), x), expand_like(self.schedule.sigma(t), x)
        variance = alpha**2 * variances + sigma**2
        offset = torch.einsum("kde,bkd->bke", basis, x - alpha * self.means)
        log_density = -0.5 * (offset.square() / variance + (2 * math.pi * variance).log()).sum(-1)
        return condition.embedding.log() + log_density, offset / variance
