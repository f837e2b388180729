"""Ways to the point at which target and source are compared.

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

from bridge_nerf.distillation.epsilon import TARGET, Epsilon, Slot
from bridge_nerf.distillation.problem import Point, Problem
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.distillation.weighting import Weighting
from bridge_nerf.schedules import expand_like


@runtime_checkable
class Transport(Protocol):
    """The interface; called without a graph."""

    @property
    def slots(self) -> frozenset[Slot]:
        """The slots that it asks on its own account, besides those of target and source."""
        ...

    @property
    def needs_reference(self) -> bool:
        """True where it compares with the image that an edit starts from (`Problem.reference`)."""
        ...

    def __call__(
        self, problem: Problem, target: Epsilon, source: Epsilon, sample: Sample
    ) -> Float[Tensor, "b *dims"]:
        """eps_target - eps_source; the sample's noise is fresh, the transport's only randomness."""
        ...


@dataclass(frozen=True)
class Jump:
    """Up in one jump of fresh noise, down in one linear step: the paper's first-order bridge."""

    slots = frozenset[Slot]()
    needs_reference = False

    def __call__(
        self, problem: Problem, target: Epsilon, source: Epsilon, sample: Sample
    ) -> Float[Tensor, "b *dims"]:
        """Both estimates at the same x_t = alpha x + sigma noise."""
        return problem.evaluate(target - source, sample.x_t(problem.schedule), sample.t, sample.noise)


@dataclass(frozen=True)
class Rescaled:
    """`Jump` under guidance that may not widen the image which it expects.

    The target's x0 is brought to the standard deviation of TARGET's and mixed in by `share`: Lin et al. 2023,
    "Common Diffusion Noise Schedules and Sample Steps are Flawed", section 3.4, on x0.
    """

    share: float
    slots = TARGET.slots
    needs_reference = False

    def __call__(
        self, problem: Problem, target: Epsilon, source: Epsilon, sample: Sample
    ) -> Float[Tensor, "b *dims"]:
        """All three estimates at the same point, from one batched call."""
        schedule, t, x_t = problem.schedule, sample.t, sample.x_t(problem.schedule)
        point = Point(x_t, t, sample.noise)
        wide, plain, here = problem.evaluate_all([(target, point), (TARGET, point), (source, point)])
        wide, plain = (schedule.x0_from_eps(x_t, eps, t) for eps in (wide, plain))
        ratio = plain.flatten(1).std(dim=1) / wide.flatten(1).std(dim=1)
        return schedule.eps_from_x0(x_t, wide * expand_like(1 + self.share * (ratio - 1), x_t), t) - here


SecondPoint = Callable[[Problem, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(problem, x, t) -> (clean images, times) at which the source is asked."""


@dataclass(frozen=True)
class TwoPoint:
    """`Jump` with the source asked at a second point, which the same noise reaches.

    Args:
        second: The second point.
        identity: Weight of x minus the second point's image in the difference, a function of (schedule, t).
        needs_reference: True where the second point is that of `Problem.reference`.
    """

    second: SecondPoint
    identity: Weighting | None = None
    needs_reference: bool = False
    slots = frozenset[Slot]()

    def __call__(
        self, problem: Problem, target: Epsilon, source: Epsilon, sample: Sample
    ) -> Float[Tensor, "b *dims"]:
        """eps_target - eps_source + identity (x - image), from one batched call."""
        schedule, x, t, noise = problem.schedule, sample.x, sample.t, sample.noise
        image, time = self.second(problem, x, t)
        here = Point(sample.x_t(schedule), t, noise)
        there = Point(schedule.add_noise(image, noise, time), time, noise)
        eps_target, eps_source = problem.evaluate_all([(target, here), (source, there)])
        if self.identity is None:
            return eps_target - eps_source
        return eps_target - eps_source + expand_like(self.identity(schedule, t), x) * (x - image)


@dataclass(frozen=True)
class Invert:
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
    needs_reference = False

    @property
    def slots(self) -> frozenset[Slot]:
        """The slots of the estimate that carries x up."""
        return self.up.slots

    def __call__(
        self, problem: Problem, target: Epsilon, source: Epsilon, sample: Sample
    ) -> Float[Tensor, "b *dims"]:
        """Both estimates at the x_t that the ODE reached."""
        x, t, schedule = sample.x, sample.t, problem.schedule
        x_t, previous = flow(problem, self.up, x, self._levels(t, schedule.num_timesteps))
        return problem.evaluate(target - source, x_t, t, schedule.eps_from_x0(x_t, x, t), previous)

    def _levels(self, t: Int[Tensor, "b"], num_timesteps: int) -> Int[Tensor, "n b"]:
        if self.last is None:
            return levels(t, self.steps)
        before = (t - round(self.last * num_timesteps)).clamp(min=0)
        return torch.cat([levels(before, self.steps - 1), t[None]])


@dataclass(frozen=True)
class FullBridge:
    """Up under the source, down under the target, both along the probability flow.

    The dual diffusion implicit bridge (Su et al. 2022) of which `Jump` is the one-step case.

    Args:
        steps: Network calls on each of the two ways.
    """

    steps: int
    slots = frozenset[Slot]()
    needs_reference = False

    def __call__(
        self, problem: Problem, target: Epsilon, source: Epsilon, sample: Sample
    ) -> Float[Tensor, "b *dims"]:
        """The landing's distance, in units of eps: (alpha / sigma) (x - landing)."""
        x, t, schedule = sample.x, sample.t, problem.schedule
        up = levels(t, self.steps)
        x_t, _ = flow(problem, source, x, up)
        landing, _ = flow(problem, target, x_t, up.flip(0))
        return expand_like(schedule.alpha(t) / schedule.sigma(t), x) * (x - landing)


def levels(t: Int[Tensor, "b"], steps: int) -> Int[Tensor, "n b"]:
    """`steps` nearly equal steps from 0 up to each sample's t, both ends included."""
    share = torch.linspace(0, 1, steps + 1, dtype=torch.float64, device=t.device)[:, None]
    return (share * t).round().long()


def flow(
    problem: Problem, epsilon: Epsilon, x: Float[Tensor, "b *dims"], times: Int[Tensor, "n b"]
) -> tuple[Float[Tensor, "b *dims"], Float[Tensor, "b *dims"]]:
    """(x, last answer) after the probability-flow ODE under `epsilon`, in Euler steps between `times`.

    Each step is DDIM's (Song et al. 2020, eq. 12 with sigma 0). x is taken to be at times[0]: a clean image,
    asked at t = 0, has the noise that the schedule has there.
    """
    eps = torch.zeros_like(x)
    for t, following in pairwise(times):
        eps = problem.evaluate(epsilon, x, t)
        x = problem.schedule.add_noise(problem.schedule.x0_from_eps(x, eps, t), eps, following)
    return x, eps
