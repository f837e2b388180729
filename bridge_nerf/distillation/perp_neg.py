"""Perp-Neg: a negative prompt that cannot undo the prompt (Armandpour et al. 2023)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.schedules import expand_like


@dataclass(frozen=True)
class PerpNeg:
    """A filter of answers (`Problem.filters`) under which TARGET avoids NEGATIVE (eq. 8 of the paper).

    TARGET - NULL loses `strength` times the part of NEGATIVE - NULL that is perpendicular to it, sample by
    sample. So guided(s) is theirs: NULL + s (towards - strength * perpendicular). In 3D, NEGATIVE is another
    side's prompt.
    """

    strength: float = 1.0
    slot = Slot.TARGET
    needs = (Slot.NEGATIVE, Slot.NULL)

    def __call__(self, answers: Mapping[Slot, Tensor]) -> Float[Tensor, "b *dims"]:
        """The new answer of TARGET."""
        null = answers[Slot.NULL]
        towards, away = (answers[slot] - null for slot in (Slot.TARGET, Slot.NEGATIVE))
        return null + towards - self.strength * perpendicular(away, towards)


def perpendicular(vector: Float[Tensor, "b *dims"], to: Float[Tensor, "b *dims"]) -> Float[Tensor, "b *dims"]:
    """The part of `vector` that is perpendicular to `to`, each sample as one vector."""
    flat, along = vector.flatten(1), to.flatten(1)
    share = (flat * along).sum(1) / along.square().sum(1).clamp(min=torch.finfo(to.dtype).tiny)
    return vector - expand_like(share, to) * to
