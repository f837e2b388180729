"""How a point is reached at which target and source are compared.

A transport takes x up to the noise level t and down towards the target. It answers eps_target - eps_source,
which means where it lands: x - landing = (sigma / alpha) (eps_target - eps_source). One that comes down in
one step gets the difference from one `Problem.evaluate`. One that solves the probability-flow ODE asks
`problem` on the way up and hands over the last answer as PREVIOUS; coming down in many steps, it turns its
landing into a difference by the formula.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from bridge_nerf.distillation.epsilon import Epsilon
from bridge_nerf.distillation.problem import Problem


@runtime_checkable
class Transport(Protocol):
    """The interface; called without a graph."""

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
class Jump:
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
