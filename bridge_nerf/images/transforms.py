"""How an image is turned before it is looked at."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.errors import UserError

UPRIGHT = "0"

VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    UPRIGHT: lambda x: x,
    "90": lambda x: torch.rot90(x, 1, (-2, -1)),
    "180": lambda x: torch.rot90(x, 2, (-2, -1)),
    "270": lambda x: torch.rot90(x, 3, (-2, -1)),
    "mirror": lambda x: x.flip(-1),
    "flip": lambda x: x.flip(-2),
}
"""Degrees counterclockwise; "mirror" swaps left and right, "flip" top and bottom."""


def view(name: str, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    """The images as seen in a view; each is an isometry, so that gradients pass unchanged.

    Raises:
        UserError: No such view.
    """
    if name not in VIEWS:
        raise UserError(f"unknown view {name!r}; choose one of {', '.join(VIEWS)}")
    return VIEWS[name](images)
