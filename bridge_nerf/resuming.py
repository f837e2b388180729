"""Going on from a saved state, whole or not at all."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from bridge_nerf.errors import UserError


class ForeignState(UserError):
    """A saved state that is of something else."""


def drafts(parameters: Iterable[Tensor]) -> list[Parameter]:
    """Parameters of these shapes, with gradients where they are trained, on the meta device: a step with them
    computes nothing.
    """
    made = []
    for value in parameters:
        made.append(Parameter(torch.empty_like(value, device="meta"), value.requires_grad))
        made[-1].grad = torch.empty_like(made[-1]) if value.requires_grad else None
    return made


def after_a_step(optimizer: Optimizer) -> dict[str, Any]:
    """The structure of the optimizer's state once it has made a step: tensors of a parameter's size lie on
    the meta device.
    """
    groups = [{**group, "params": drafts(group["params"])} for group in optimizer.param_groups]
    kind: Any = type(optimizer)
    made: Optimizer = kind(groups)
    made.step()
    return made.state_dict()


def fitted(loaded: object, own: Any, place: str) -> Any:
    """A part of a checkpoint, which must have the structure of one's own: entries, lengths, shapes and dtypes
    of tensors; its numbers must be finite. Flags and texts are one's own: versions of torch differ in them.

    Args:
        place: Name of the part, for the message.

    Raises:
        ForeignState: It names what differs first.
    """
    if loaded is own:
        return own
    if isinstance(own, Tensor):
        if not isinstance(loaded, Tensor) or loaded.layout != torch.strided or loaded.is_nested:
            raise ForeignState(f"{place} is no plain tensor")
        if (loaded.shape, loaded.dtype) != (own.shape, own.dtype):
            raise ForeignState(f"{place} is {_size(loaded)}, not {_size(own)}")
        if _overlaps(loaded):
            raise ForeignState(f"{place} overlaps itself")
        if not torch.isfinite(loaded).all():
            raise ForeignState(f"{place} is not finite")
        return loaded
    if isinstance(own, dict):
        theirs = loaded if isinstance(loaded, dict) else {}
        wanted = {key for key, value in own.items() if not _is_flag(value)}
        given = {
            key for key, value in theirs.items() if not _is_flag(value) and not _is_flag(own.get(key, 0))
        }
        if wanted != given:
            names = ", ".join(sorted(map(str, wanted ^ given))[:3])
            raise ForeignState(f"{place} lacks or has besides: {names:.80}")
        return {
            key: fitted(theirs[key], own[key], f"{place}.{key}") if key in wanted else own[key] for key in own
        }
    if isinstance(own, list | tuple):
        if not isinstance(loaded, list | tuple) or len(loaded) != len(own):
            raise ForeignState(f"{place} is no list of {len(own)}")
        parts = [
            fitted(value, mine, f"{place}.{k}")
            for k, (value, mine) in enumerate(zip(loaded, own, strict=True))
        ]
        if place.endswith(".params") and parts != own:
            raise ForeignState(f"{place} are not {own}")
        return type(own)(parts)
    if _is_flag(own):
        return own
    if isinstance(loaded, int) and abs(loaded) >= 2**63:
        raise ForeignState(f"{place} is a number of {loaded.bit_length()} bits, which is too large")
    if not isinstance(loaded, int | float) or isinstance(loaded, bool) or not math.isfinite(loaded):
        raise ForeignState(f"{place} is {loaded!r:.40}, which is no number")
    if isinstance(own, int) and loaded != int(loaded):
        raise ForeignState(f"{place} is {loaded!r:.40}, which is no whole number")
    return int(loaded) if isinstance(own, int) else loaded


def _overlaps(value: Tensor) -> bool:
    """True where entries may lie in one place, as they do after `expand`; their order is not looked at."""
    reach = 0
    for stride, size in sorted((s, n) for s, n in zip(value.stride(), value.shape, strict=True) if n > 1):
        if stride <= reach:
            return True
        reach += stride * (size - 1)
    return False


def _size(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} of {'x'.join(map(str, value.shape)) or 'one number'}"


def _is_flag(value: object) -> bool:
    return isinstance(value, bool | str | None)
