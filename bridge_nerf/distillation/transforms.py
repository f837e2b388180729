"""Functions of a weighted gradient, as `Objective.transforms` applies them one after the other."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from bridge_nerf.schedules import expand_like

GradientTransform = Callable[[Tensor], Tensor]
"""A function from a gradient "b *dims" to another of the same shape, sample by sample."""


@dataclass(frozen=True)
class Clip:
    """Limits every entry to [-limit, limit] (Hong et al. 2023, "Debiasing Scores and Prompts")."""

    limit: float

    def __call__(self, gradient: Float[Tensor, "b *dims"]) -> Float[Tensor, "b *dims"]:
        return gradient.clamp(-self.limit, self.limit)


def unit_norm(gradient: Float[Tensor, "b *dims"]) -> Float[Tensor, "b *dims"]:
    """Each sample's gradient over its length, as the code of classifier score distillation does."""
    return gradient / expand_like(gradient.flatten(1).norm(dim=1) + 1e-8, gradient)
