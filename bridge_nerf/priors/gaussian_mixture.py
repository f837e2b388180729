"""The analytic prior: a mixture of K Gaussians in d dimensions, every answer in closed form.

    x ~ sum_k w_k N(m_k, S_k)   =>   x_t ~ sum_k w_k N(alpha m_k, C_k),   C_k = alpha^2 S_k + sigma^2 I
    eps(x_t) = -sigma grad log p(x_t) = sigma sum_k r_k C_k^-1 (x_t - alpha m_k)

with r_k the posterior probability of component k. S_k = U diag(lambda) U^T, so C_k is diagonal in the basis U at
every t. A prompt names components: it is a mixture of its own, with the other weights set to zero.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge_nerf.distillation.prior import Condition
from bridge_nerf.errors import UserError
from bridge_nerf.schedules import NoiseSchedule, per_sample


class _Posterior(NamedTuple):
    """x_t seen from every component, in the component's own basis."""

    log_joint: Float[Tensor, "b k"]
    """log w_k N(x_t; alpha m_k, C_k)."""
    whitened: Float[Tensor, "b k d"]
    """U^T C_k^-1 (x_t - alpha m_k)."""


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
        """Component weights, one row a prompt: those of the names in it ("left, right" mixes two), "" means all.

        Raises:
            UserError: A word is no component's name.
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
        return Condition(weights / weights.sum(1, keepdim=True))

    def eps(
        self, x_t: Float[Tensor, "b *dims"], t: Int[Tensor, "b"], condition: Condition
    ) -> Float[Tensor, "b *dims"]:
        """The expected noise in x_t, exactly. The shape of a sample is free as long as it has d entries."""
        log_joint, whitened = self._posterior(x_t, t, condition)
        score = torch.einsum(
            "bk,kde,bke->bd", log_joint.softmax(1), self._spectrum[1].to(x_t.dtype), whitened
        )
        return per_sample(self.schedule.sigma(t), x_t) * score.view_as(x_t)

    def log_density(
        self, x_t: Float[Tensor, "b *dims"], t: Int[Tensor, "b"], condition: Condition
    ) -> Float[Tensor, "b"]:
        """log p(x_t), in nats."""
        return self._posterior(x_t, t, condition).log_joint.logsumexp(1)

    def sample(self, condition: Condition, generator: torch.Generator) -> Float[Tensor, "b d"]:
        """Clean samples, one a row of the condition."""
        component = torch.multinomial(condition.embedding, 1, generator=generator)[:, 0]
        variances, basis = self._spectrum
        unit = torch.randn(
            len(component),
            self.means.shape[1],
            generator=generator,
            dtype=self.means.dtype,
            device=generator.device,
        )
        offset = torch.einsum("bde,be->bd", basis[component], variances[component].sqrt() * unit)
        return self.means[component] + offset

    @cached_property
    def _spectrum(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k d d"]]:
        """(lambda, U) of every S_k."""
        variances, basis = torch.linalg.eigh(self.covariances)
        return variances.clamp(min=0), basis  # rounding may leave a zero variance just below zero

    def _posterior(
        self, x_t: Float[Tensor, "b *dims"], t: Int[Tensor, "b"], condition: Condition
    ) -> _Posterior:
        x = x_t.flatten(1)
        variances, basis = (value.to(x.dtype) for value in self._spectrum)
        alpha, sigma = (
            per_sample(value(t), x)[:, None] for value in (self.schedule.alpha, self.schedule.sigma)
        )
        offset = x[:, None] - alpha * self.means.to(x.dtype)
        offset = torch.einsum("kde,bkd->bke", basis, offset)
        variance = alpha**2 * variances + sigma**2
        log_density = -0.5 * (offset.square() / variance + (2 * math.pi * variance).log()).sum(-1)
        return _Posterior(condition.embedding.to(x.dtype).log() + log_density, offset / variance)
