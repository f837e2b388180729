"""How a point is reached at which target and source are compared.

A transport takes x up to the noise level t and down towards the target. It answers eps_target - eps_source,
which means where it lands: x - landing = (sigma / alpha) (eps_target - eps_source). One that comes down in
one step gets the difference from one `Problem.evaluate_all`. One that solves the probability-flow ODE asks
`problem` on the way up and hands over the last answer as PREVIOUS; coming down in many steps, it turns its
landing into a difference by the formula.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge_nerf.distillation.epsilon import Epsilon, Slot
from bridge_nerf.distillation.problem import Point, Problem
from bridge_nerf.distillation.weighting import Weighting
from bridge_nerf.schedules import expand_like


@runtime_checkable
class Transport(Protocol):
    """The interface; called without a graph."""

    @property
    def slots(self) -> frozenset[Slot]:
        """What the transport asks on its own account, besides target and source."""
        return frozenset()

    def __call__(
        self,
        problem: Problem,
        target: Epsilon,
        source: Epsilon,
        x: Float[Tensor, "b *dims"],
        t: Int[Tensor, "b"],
        noise: Float[Tensor, "b *dims"],
    ) -> Float[Tensor, "b *dims"]:
        """eps_target - eps_source; `noise` is fresh, unit Gaussian, the transport's only randomness."""
        ...


@dataclass(frozen=True)
class Jump(Transport):
    """Up in one jump of fresh noise, down in one linear step: the paper's first-order bridge."""

    def __call__(
        self,
        problem: Problem,
        target: Epsilon,
        source: Epsilon,
        x: Float[Tensor, "b *dims"],
        t: Int[Tensor, "b"],
        noise: Float[Tensor, "b *dims"],
    ) -> Float[Tensor, "b *dims"]:
        """Both estimates at the same x_t = alpha x + sigma noise."""
        return problem.evaluate(target - source, problem.schedule.add_noise(x, noise, t), t, noise=noise)


Elsewhere = Callable[[Problem, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(problem, x, t) -> (clean images, times): a second point."""


@dataclass(frozen=True)
class Apart(Transport):
    """As `Jump`, but the source is asked at a point of its own, reached by the same noise.

    Args:
        elsewhere: Where.
        identity: What x minus the second point's image counts in the difference, by (schedule, t).
    """

    elsewhere: Elsewhere
    identity: Weighting | None = None

    def __call__(
        self,
        problem: Problem,
        target: Epsilon,
        source: Epsilon,
        x: Float[Tensor, "b *dims"],
        t: Int[Tensor, "b"],
        noise: Float[Tensor, "b *dims"],
    ) -> Float[Tensor, "b *dims"]:
        """eps_target - eps_source + identity (x - image), from one batched call."""
        schedule, (image, time) = problem.schedule, self.elsewhere(problem, x, t)
        here = Point(schedule.add_noise(x, noise, t), t, noise)
        there = Point(schedule.add_noise(image, noise, time), time, noise)
        eps_target, eps_source = problem.evaluate_all([(target, here), (source, there)])
        if self.identity is None:
            return eps_target - eps_source
        return eps_target - eps_source + expand_like(self.identity(schedule, t), x) * (x - image)


@dataclass(frozen=True)
class Invert(Transport):
    """Up along the probability flow, down in one linear step: inversion in the place of fresh noise.

    NOISE is the noise that the way up found, (x_t - alpha x) / sigma; PREVIOUS the answer of `up` at the
    last point before x_t.

    Args:
        up: The estimate that carries x up.
        steps: Network calls on the way up.
        last: Length of the last step, a fraction of T; None makes all steps equal.
    """

    up: Epsilon
    steps: int
    last: float | None = None

    @property
    def slots(self) -> frozenset[Slot]:
        """Those of the way up."""
        return self.up.slots

    def __call__(
        self,
        problem: Problem,
        target: Epsilon,
        source: Epsilon,
        x: Float[Tensor, "b *dims"],
        t: Int[Tensor, "b"],
        noise: Float[Tensor, "b *dims"],
    ) -> Float[Tensor, "b *dims"]:
        """Both estimates at the x_t that the ODE reached."""
        x_t, previous = flow(problem, self.up, x, self._levels(t, problem.schedule.num_timesteps))
        found = problem.schedule.eps_from_x0(x_t, x, t)
        return problem.evaluate(target - source, x_t, t, found, previous)

    def _levels(self, t: Int[Tensor, "b"], num_timesteps: int) -> Int[Tensor, "n b"]:
        if self.last is None:
            return levels(t, self.steps)
        before = (t - round(self.last * num_timesteps)).clamp(min=0)
        return torch.cat([levels(before, self.steps - 1), t[None]])


@dataclass(frozen=True)
class FullBridge(Transport):
    """Up under the source, down under the target, both along the probability flow.

    The dual diffusion implicit bridge (Su et al. 2022) of which `Jump` is the one-step case.

    Args:
        steps: Network calls on each of the two ways.
    """

    steps: int

    def __call__(
        self,
        problem: Problem,
        target: Epsilon,
        source: Epsilon,
        x: Float[Tensor, "b *dims"],
        t: Int[Tensor, "b"],
        noise: Float[Tensor, "b *dims"],
    ) -> Float[Tensor, "b *dims"]:
        """The landing's distance, in units of eps: (alpha / sigma) (x - landing)."""
        up = levels(t, self.steps)
        x_t, _ = flow(problem, source, x, up)
        landing, _ = flow(problem, target, x_t, up.flip(0))
        schedule = problem.schedule
        return expand_like(schedule.alpha(t) / schedule.sigma(t), x) * (x - landing)


def levels(t: Int[Tensor, "b"], steps: int) -> Int[Tensor, "n b"]:
    """`steps` nearly equal steps from 0 up to each sample's t, both ends included."""
    share = torch.linspace(0, 1, steps + 1, dtype=torch.float64, device=t.device)[:, None]
    return (share * t).round().long()


def flow(
    problem: Problem, epsilon: Epsilon, x: Float[Tensor, "b *dims"], times: Int[Tensor, "n b"]
) -> tuple[Float[Tensor, "b *dims"], Float[Tensor, "b *dims"]]:
    """(x, last answer) after the probability-flow ODE under `epsilon`, in Euler steps between `times`.

    Each step is DDIM's (Song et al. 2020, eq. 13 without noise). x is taken to be at times[0]: a clean image,
    asked at t = 0, has the noise that the schedule has there.
    """
    eps = torch.zeros_like(x)
    for t, following in pairwise(times):
        eps = problem.evaluate(epsilon, x, t)
        x = problem.schedule.add_noise(problem.schedule.x0_from_eps(x, eps, t), eps, following)
    return x, eps
