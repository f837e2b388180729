"""Everything that depends on a diffusion time t, and on nothing else.

Letters:
    T                number of diffusion times; t is an integer in [0, T), 0 is the cleanest
    abar             alphas_cumprod, the table that defines a variance-preserving process
    beta             1 - abar_t / abar_(t-1), the variance added by one step
    alpha, sigma     sqrt(abar_t), sqrt(1 - abar_t)
    x0, eps, x_t     clean value, unit Gaussian noise, x_t = alpha x0 + sigma eps
    v                alpha eps - sigma x0 (Salimans & Ho 2022, "Progressive Distillation", app. D)
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge_nerf.annealing import TimestepRange


def expand_like(values: Float[Tensor, "b"], like: Float[Tensor, "b *dims"]) -> Float[Tensor, "b *ones"]:
    """One number a sample, shaped to multiply `like` and in its dtype (a float64 table must not widen it)."""
    return values.to(like.dtype).view(-1, *[1] * (like.ndim - 1))


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """A discrete variance-preserving diffusion process.

    Args:
        alphas_cumprod: abar_t, in (0, 1], falling. It answers on the device of the t it is asked for; keep it
            on the device of the network, or every look-up copies it there.
        betas: What alphas_cumprod was made of, where that is known: taken back out of a float32 product, a
            beta keeps three or four digits.
    """

    alphas_cumprod: Float[Tensor, "T"]
    betas: Float[Tensor, "T"] | None = None

    @classmethod
    def scaled_linear(
        cls, num: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012
    ) -> "NoiseSchedule":
        """Stable Diffusion's: sqrt(beta) is linear in t. The table is float64."""
        betas = torch.linspace(beta_start**0.5, beta_end**0.5, num, dtype=torch.float64) ** 2
        return cls((1 - betas).cumprod(0), betas)

    @property
    def num_timesteps(self) -> int:
        """T."""
        return len(self.alphas_cumprod)

    def alpha(self, t: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Share of the signal in x_t, in the table's dtype, on t's device."""
        return self.alphas_cumprod.to(t.device)[t].sqrt()

    def sigma(self, t: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Standard deviation of the noise in x_t, in the table's dtype, on t's device."""
        return (1 - self.alphas_cumprod.to(t.device)[t]).sqrt()

    def beta(self, t: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Variance of the step from t - 1 to t, for t of at least 1, on t's device."""
        if self.betas is not None:
            return self.betas.to(t.device)[t]
        abar = self.alphas_cumprod.to(t.device)
        return 1 - abar[t] / abar[t - 1]

    def add_noise(
        self, x: Float[Tensor, "b *dims"], noise: Float[Tensor, "b *dims"], t: Int[Tensor, "b"]
    ) -> Float[Tensor, "b *dims"]:
        """x_t = alpha x + sigma noise."""
        return expand_like(self.alpha(t), x) * x + expand_like(self.sigma(t), x) * noise

    def x0_from_eps(
        self, x_t: Float[Tensor, "b *dims"], eps: Float[Tensor, "b *dims"], t: Int[Tensor, "b"]
    ) -> Float[Tensor, "b *dims"]:
        """x0 = (x_t - sigma eps) / alpha."""
        return (x_t - expand_like(self.sigma(t), x_t) * eps) / expand_like(self.alpha(t), x_t)

    def eps_from_x0(
        self, x_t: Float[Tensor, "b *dims"], x0: Float[Tensor, "b *dims"], t: Int[Tensor, "b"]
    ) -> Float[Tensor, "b *dims"]:
        """eps = (x_t - alpha x0) / sigma."""
        return (x_t - expand_like(self.alpha(t), x_t) * x0) / expand_like(self.sigma(t), x_t)

    def eps_from_v(
        self, x_t: Float[Tensor, "b *dims"], v: Float[Tensor, "b *dims"], t: Int[Tensor, "b"]
    ) -> Float[Tensor, "b *dims"]:
        """eps = alpha v + sigma x_t."""
        return expand_like(self.alpha(t), x_t) * v + expand_like(self.sigma(t), x_t) * x_t

    def v_from_eps(
        self, x_t: Float[Tensor, "b *dims"], eps: Float[Tensor, "b *dims"], t: Int[Tensor, "b"]
    ) -> Float[Tensor, "b *dims"]:
        """v = (eps - sigma x_t) / alpha."""
        return (eps - expand_like(self.sigma(t), x_t) * x_t) / expand_like(self.alpha(t), x_t)


def sample_times(
    times: TimestepRange, step: int, batch: int, num_timesteps: int, rng: torch.Generator
) -> Int[Tensor, "b"]:
    """`batch` diffusion times, uniform over the range of this step (both ends count), on the rng's device."""
    low, high = (min(round(fraction * num_timesteps), num_timesteps - 1) for fraction in times.at(step))
    offset = 1 % times.stride
    first = low + (offset - low) % times.stride
    count = max((high - first) // times.stride, 0) + 1
    index = torch.randint(count, (batch,), generator=rng, device=rng.device)
    return (first + times.stride * index).clamp(max=num_timesteps - 1)
