"""Checkpoints that are whole or absent: written beside their place, moved there in one operation, checked
when read."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import torch

from bridge_nerf.errors import UserError
from bridge_nerf.files import write_atomic

KEYS = {"step", "pipeline", "optimizers", "schedulers", "scalers"}
"""Entries of a checkpoint of nerfstudio's trainer."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; its unfinished file lies in the folder above."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getvalue(), beside=path.parent.parent)


def latest(folder: Path) -> Path:
    """The checkpoint with the highest step.

    Raises:
        UserError: There is none.
    """
    found = {
        int(m[1]): p for p in folder.glob("step-*.ckpt") if (m := re.fullmatch(r"step-(\d+)\.ckpt", p.name))
    }
    if not found:
        raise UserError(f"no checkpoint (step-*.ckpt) in {folder}; give the folder of a run")
    return found[max(found)]


def chosen(load_dir: Path | None, load_step: int | None, load_checkpoint: Path | None) -> Path | None:
    """The checkpoint that nerfstudio's three flags name together; None where they name none.

    `load_dir` may be a run's folder as well as the folder of checkpoints in it.

    Raises:
        UserError: It does not exist.
    """
    if load_dir is not None:
        within = load_dir / "nerfstudio_models"
        load_dir = within if within.is_dir() else load_dir
        path = latest(load_dir) if load_step is None else load_dir / f"step-{load_step:09d}.ckpt"
    else:
        path = load_checkpoint
    if path is not None and not path.is_file():
        raise UserError(f"there is no checkpoint {path}; check --load-dir, --load-step or --load-checkpoint")
    return path


def read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU.

    Raises:
        UserError: The file is torn, or is not a checkpoint of nerfstudio's.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the broken bytes lead to
        reason = type(error).__name__
        raise UserError(
            f"{path} is torn or not a checkpoint at all ({reason}); choose another, nothing was changed"
        ) from error
    if not isinstance(state, dict) or not state.keys() >= KEYS:
        raise UserError(f"{path} is not a nerfstudio checkpoint; choose another, nothing was changed")
    return state


def foreign(path: Path, error: Exception) -> UserError:
    """The message for a checkpoint whose content does not fit this model."""
    reason = " ".join(str(error).split())[:160]
    return UserError(
        f"{path} belongs to another model; give the flags of its run, nothing was changed ({reason})"
    )
