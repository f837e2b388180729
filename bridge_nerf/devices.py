"""Devices that compute: checks, settings, transfers, and the cores beside them."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING

from bridge_nerf.errors import UserError

if TYPE_CHECKING:
    import torch
    from jaxtyping import Shaped
    from torch import Tensor


FEW_PROCESSES = 8
"""Processes that any machine may be asked for."""


def tune(device: torch.device | str) -> None:
    """Let a CUDA device multiply float32 matrices as TF32 and try which convolution is fastest at each shape.

    Both hold for the whole process; nothing changes for other devices. Shapes are the same at every step of a
    distillation, so one trial of each pays.
    """
    import torch

    if torch.device(device).type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True


def check_device(device: torch.device | str) -> torch.device:
    """The device by its name.

    Raises:
        UserError: There is no such device, or not in this machine.
    """
    import torch

    try:
        known = torch.device(device)
    except RuntimeError:
        raise UserError(
            f'unknown device "{device}": give cpu, cuda, or one of several, as in cuda:1'
        ) from None
    if known.type == "cuda" and (known.index or 0) >= (count := torch.cuda.device_count()):
        raise UserError(
            f"there is no device {device}: torch sees {count} CUDA devices; use cpu, or mend that"
        )
    if known.type == "cpu" and known.index:
        raise UserError(f"there is no device {device}: all of the processor is cpu")
    if known.type not in ("cpu", "cuda") and not (known.type == "mps" and torch.backends.mps.is_available()):
        raise UserError(f"there is no device {device} here; give cpu, or cuda where there is a GPU")
    return known


def check_processes(count: int, flag: str = "devices") -> None:
    """Raise UserError for more processes than can work: each takes a GPU, where there are any and the flag is
    about devices, or else a core, and its share of the memory.
    """
    import torch

    available = torch.cuda.device_count() if flag == "devices" else 0
    if count > (most := available or max(FEW_PROCESSES, cores())):
        raise UserError(f"--{flag} {count} is more than there are: give a number from 1 to {most}")


def default_device() -> str:
    """The GPU of this process, where there is one: of several processes each takes its own."""
    import torch

    local = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", 0)))
    return f"cuda:{local % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu"


def make_current(device: torch.device | str) -> None:
    """Make a CUDA device other than the first the default of this process, or every process would open the
    first one too. No other device is touched.
    """
    import torch

    if torch.device(device).type == "cuda" and torch.device(device).index:
        torch.cuda.set_device(device)


def send(value: Shaped[Tensor, "*dims"], device: torch.device) -> Shaped[Tensor, "*dims"]:
    """The value on the device; it travels from main memory to a CUDA device by way of pinned memory, so that
    the host does not wait for the card.
    """
    if device.type != "cuda" or value.device.type != "cpu":
        return value.to(device)
    return value.pin_memory().to(device, non_blocking=True)


def cores() -> int:
    """Number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def limit_heaps() -> None:
    """Let two heaps be enough for all threads: each that serves a visitor would get, and keep, its own."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):  # glibc; M_ARENA_MAX is -8
            libc.mallopt(-8, 2)
