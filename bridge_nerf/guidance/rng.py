"""Random draws of a step as a function of (seed, step): a resumed run draws what an unbroken one would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.annealing import TimestepRange
from bridge_nerf.devices import send
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.schedules import sample_times
from bridge_nerf.seeding import generator


@runtime_checkable
class StepDraws(Protocol):
    """The interface."""

    def sample(
        self, x: Float[Tensor, "n *dims"], step: int, times: TimestepRange, T: int, purpose: str = ""
    ) -> Sample:
        """x with diffusion times in [0, T) and unit Gaussian noise, on x's device.

        Args:
            purpose: "" for the distillation; the adapter learns at times and noise of its own, or those of
                the distillation would teach it what it is asked next.
        """
        ...


@dataclass(frozen=True)
class PerImageDraws:
    """Draws of an image depend on its own seed, whatever else is in the batch.

    Args:
        seeds: One an image.
        transforms: Number of ways in which each image is seen: x has a row for each (transform, image),
            transforms slowest. An image's rows share t, and each has noise of its own.
    """

    seeds: tuple[int, ...]
    transforms: int = 1

    def sample(
        self, x: Float[Tensor, "n *dims"], step: int, times: TimestepRange, T: int, purpose: str = ""
    ) -> Sample:
        """See `StepDraws`."""
        prefix = f"{purpose} " if purpose else ""
        t = [sample_times(times, step, 1, T, generator(seed, f"{prefix}t", step)) for seed in self.seeds]
        noise = [
            torch.randn(x.shape[1:], generator=generator(seed, f"{prefix}noise", step, k))
            for k in range(self.transforms)
            for seed in self.seeds
        ]
        t_rows = torch.cat(t).repeat(self.transforms)
        return Sample(x, send(t_rows, x.device), send(torch.stack(noise).to(x.dtype), x.device))


@dataclass(frozen=True)
class PerStepDraws:
    """A time and noise for each camera of a step, from the run's seed."""

    seed: int

    def sample(
        self, x: Float[Tensor, "n *dims"], step: int, times: TimestepRange, T: int, purpose: str = ""
    ) -> Sample:
        """See `StepDraws`."""
        if purpose:  # t and noise from one generator, one after the other
            rngs = [generator(self.seed, purpose, step)] * 2
        else:
            rngs = [generator(self.seed, name, step) for name in ("t", "noise")]
        t = sample_times(times, step, len(x), T, rngs[0])
        noise = torch.randn(x.shape, generator=rngs[1])
        return Sample(x, send(t, x.device), send(noise, x.device))
