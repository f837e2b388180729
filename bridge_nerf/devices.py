"""What computes: settings of the device, the way of tensors to it, and the cores beside it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from jaxtyping import Shaped
    from torch import Tensor


def tune(device: torch.device | str) -> None:
    """Let a CUDA device multiply float32 matrices as TF32 and try which convolution is fastest at each shape.

    Both hold for the whole process; another device is left as it is. Called once a program knows where it
    computes: shapes are the same at every step of a distillation, so what is tried once pays.
    """
    import torch

    if torch.device(device).type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True


def make_current(device: torch.device | str) -> None:
    """Let a CUDA device other than the first be the one that this process means where it names none: or every
    process would open the first one too. Nothing else touches CUDA here."""
    import torch

    if torch.device(device).type == "cuda" and torch.device(device).index:
        torch.cuda.set_device(device)


def send(value: Shaped[Tensor, "*dims"], device: torch.device) -> Shaped[Tensor, "*dims"]:
    """The value on the device; from main memory to a CUDA device by way of pinned memory, so that the host
    does not wait for the card."""
    if device.type != "cuda" or value.device.type != "cpu":
        return value.to(device)
    return value.pin_memory().to(device, non_blocking=True)


def cores() -> int:
    """How many cores this process may use."""
    known = getattr(os, "sched_getaffinity", None)  # Linux has it
    return len(known(0)) if known else os.cpu_count() or 1
