"""Background behind the object. In training it may change with every step, so that fog has nothing to blend
into."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bridge_nerf.devices import send
from bridge_nerf.photometry import BACKGROUNDS
from bridge_nerf.seeding import generator

BackgroundKind = Literal["palette", "random", "learned", "white", "gray", "black", "blue"]


class Background(nn.Module):
    """One colour a step, a pure function of (seed, step), or one learned colour.

    "palette" draws one of the toybox's named colours at every step, "random" any colour, a colour's name is
    that colour always. Images for people (evaluation, viewer) get white, or the one fixed or learned
    colour.
    """

    def __init__(self, kind: BackgroundKind) -> None:
        super().__init__()
        self.kind = kind
        self.palette: Tensor
        self.register_buffer("palette", torch.tensor(list(BACKGROUNDS.values())), persistent=False)
        self.logits = nn.Parameter(torch.zeros(3)) if kind == "learned" else None

    def name(self, seed: int, step: int) -> str | None:
        """The colour's name at a training step; None where it has none."""
        if self.kind == "palette":
            drawn = torch.randint(len(BACKGROUNDS), (), generator=generator(seed, "background", step))
            return list(BACKGROUNDS)[int(drawn)]
        return self.kind if self.kind in BACKGROUNDS else None

    def names(self) -> tuple[str | None, ...]:
        """Every answer that `name` may give."""
        if self.kind == "palette":
            return tuple(BACKGROUNDS)
        return (self.name(0, 0),)

    def colour(self, seed: int, step: int) -> Float[Tensor, "3"]:
        """RGB in [0, 1] at a training step."""
        if self.kind == "random":
            colour = torch.rand(3, generator=generator(seed, "background", step))
            return send(colour, self.palette.device)
        name = self.name(seed, step)
        return self.shown() if name is None else self._named(name)

    def shown(self) -> Float[Tensor, "3"]:
        """RGB in [0, 1] behind images for people."""
        if self.logits is not None:
            return self.logits.sigmoid()
        return self._named(self.kind if self.kind in BACKGROUNDS else "white")

    def _named(self, name: str) -> Float[Tensor, "3"]:
        return self.palette[list(BACKGROUNDS).index(name)]
