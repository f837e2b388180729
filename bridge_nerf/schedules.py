"""Everything that depends on a diffusion time t or on a training step, and on nothing else.

Letters:
    T                number of diffusion times; t is an integer in [0, T), 0 is the cleanest
    abar             alphas_cumprod, the table that defines a variance-preserving process
    beta             1 - abar_t / abar_(t-1), the variance added by one step
    alpha, sigma     sqrt(abar_t), sqrt(1 - abar_t)
    x0, eps, x_t     clean value, unit Gaussian noise, x_t = alpha x0 + sigma eps
    v                alpha eps - sigma x0 (Salimans & Ho 2022, "Progressive Distillation", app. D)
    step             absolute training step; a function of it alone survives a resume
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge_nerf.errors import UserError


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


@dataclass(frozen=True)
class Ramp:
    """A number that moves linearly from `initial` to `final` between two absolute steps, and rests outside.

    `Ramp()` is the constant 1.
    """

    initial: float = 1.0
    """Value up to the step `begin`."""
    final: float = 1.0
    """Value from the step `end` on."""
    begin: int = 0
    """Step at which the change begins."""
    end: int = 0
    """Step at which the change is complete."""

    def __post_init__(self) -> None:
        if not 0 <= self.begin <= self.end:
            raise UserError(
                f"a change from step {self.begin} to step {self.end} is none; "
                "it must not begin before step 0, nor end before it begins"
            )

    def __call__(self, step: int) -> float:
        if step >= self.end:
            return self.final
        share = max(step - self.begin, 0) / max(self.end - self.begin, 1)
        return self.initial + share * (self.final - self.initial)


@dataclass(frozen=True)
class TimestepRange:
    """Which diffusion times are drawn at which step: uniform in a range whose ends may be annealed."""

    minimum: float = 0.02
    """Smallest t before annealing, as a fraction of T."""
    maximum: float = 0.98
    """Largest t before annealing, as a fraction of T."""
    final_maximum: float = 0.98
    """Largest t once annealing is over, as a fraction of T; without effect while anneal_steps is 0."""
    anneal_steps: int = 0
    """Steps over which the largest t moves linearly from maximum to final_maximum; 0 keeps it at maximum."""
    anneal_begin: int = 0
    """Absolute step at which annealing begins."""
    final_minimum: float | None = None
    """Smallest t once annealing is over, as a fraction of T; None keeps it at minimum."""
    stride: int = 1
    """Draws only every so many-th time: 1, 1 + stride, ..., the grid of a DDIM sampler with T / stride steps
    and an offset of one; 1 draws all. A range that holds none of them draws the next one."""

    def __post_init__(self) -> None:
        ends = (self.minimum, self.maximum), (self._final_minimum, self.final_maximum)
        if not all(0 <= low <= high <= 1 for low, high in ends):
            said = " and then ".join(f"from {low:g} to {high:g}" for low, high in ends)
            raise UserError(
                f"diffusion times {said} of T make no sense: fractions must obey 0 <= minimum <= maximum "
                "<= 1, also with the final maximum and minimum"
            )
        if self.stride < 1:
            raise UserError(f"a stride of {self.stride} draws nothing; give 1 or more")
        self.at(0)

    @property
    def _final_minimum(self) -> float:
        return self.minimum if self.final_minimum is None else self.final_minimum

    def at(self, step: int) -> tuple[float, float]:
        """(lowest, highest) fraction of T at this step."""
        if not self.anneal_steps:
            return self.minimum, self.maximum
        begin, end = self.anneal_begin, self.anneal_begin + self.anneal_steps
        low = Ramp(self.minimum, self._final_minimum, begin, end)
        return low(step), Ramp(self.maximum, self.final_maximum, begin, end)(step)

    def sample(
        self, step: int, batch: int, num_timesteps: int, generator: torch.Generator
    ) -> Int[Tensor, "b"]:
        """`batch` times, uniform over the range of this step (both ends count), on the generator's device."""
        low, high = (min(round(fraction * num_timesteps), num_timesteps - 1) for fraction in self.at(step))
        offset = 1 % self.stride
        first = low + (offset - low) % self.stride
        count = max((high - first) // self.stride, 0) + 1
        index = torch.randint(count, (batch,), generator=generator, device=generator.device)
        return (first + self.stride * index).clamp(max=num_timesteps - 1)
