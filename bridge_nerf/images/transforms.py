"""Rotations and reflections under which an image is read."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.errors import UserError

IDENTITY = "0"

TRANSFORMS: dict[str, Callable[[Tensor], Tensor]] = {
    IDENTITY: lambda x: x,
    "90": lambda x: torch.rot90(x, 1, (-2, -1)),
    "180": lambda x: torch.rot90(x, 2, (-2, -1)),
    "270": lambda x: torch.rot90(x, 3, (-2, -1)),
    "mirror": lambda x: x.flip(-1),
    "flip": lambda x: x.flip(-2),
}
"""Degrees counterclockwise; "mirror" swaps left and right, "flip" top and bottom."""


def transformed(name: str, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    """The images under a transform; each is an isometry, so that gradients pass unchanged.

    Raises:
        UserError: There is no such transform.
    """
    if name not in TRANSFORMS:
        raise UserError(f"unknown transform {name!r}; choose one of {', '.join(TRANSFORMS)}")
    return TRANSFORMS[name](images)
