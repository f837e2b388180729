"""Checkpoints that are whole or absent: written beside their place, moved there in one operation, checked
when read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Annotated, Any, TypedDict

from msgspec import Meta
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.engine.trainer import TrainerConfig
from torch import Tensor

from bridge_nerf.errors import UserError
from bridge_nerf.files import write_tensors
from bridge_nerf.flags import STEPS
from bridge_nerf.guidance.distiller import ADAPTER
from bridge_nerf.reading import read_tensors
from bridge_nerf.resuming import drafts, fitted


class State(TypedDict):
    """Entries of a checkpoint of nerfstudio's trainer."""

    step: Annotated[int, Meta(ge=0, lt=int(STEPS.most))]
    """Absolute step that was made last."""
    pipeline: dict[str, Any]
    optimizers: dict[str, Any]
    schedulers: dict[str, Any]
    scalers: dict[str, Any]


def save(path: Path, state: State) -> None:
    """Write a checkpoint; its unfinished file lies in the folder above."""
    write_tensors(path, state, beside=path.parent.parent)


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
        UserError: It does not exist, or one of the flags would change nothing.
    """
    if load_dir is not None and load_checkpoint is not None:
        raise UserError("--load-checkpoint changes nothing beside --load-dir: leave one of them out")
    if load_dir is None and load_step is not None:
        raise UserError("--load-step changes nothing without --load-dir: give the folder of the run too")
    if load_dir is not None:
        within = load_dir / "nerfstudio_models"
        load_dir = within if within.is_dir() else load_dir
        path = latest(load_dir) if load_step is None else load_dir / f"step-{load_step:09d}.ckpt"
    else:
        path = load_checkpoint
    if path is not None and not path.is_file():
        raise UserError(f"there is no checkpoint {path}; check --load-dir, --load-step or --load-checkpoint")
    return path


def read(path: Path) -> State:
    """The content of a checkpoint, on the CPU.

    Raises:
        UserError: The file is torn, or is not a checkpoint of nerfstudio's.
    """
    return read_tensors(path, State, "choose another, nothing was changed")


def after_a_step(
    config: Mapping[str, Any], parameters: Mapping[str, Iterable[Tensor]]
) -> dict[str, dict[str, Any]]:
    """The "optimizers" and "schedulers" of a checkpoint, as they are once these parameters, by group, have
    made a step. Nothing is computed: all tensors of a parameter's size lie on the meta device.
    """
    made = Optimizers(dict(config), {name: drafts(values) for name, values in parameters.items()})
    for part in (*made.optimizers.values(), *made.schedulers.values()):
        part.step()
    return {
        "optimizers": {name: part.state_dict() for name, part in made.optimizers.items()},
        "schedulers": {name: part.state_dict() for name, part in made.schedulers.items()},
    }


def fitted_training(
    state: State, own: Mapping[str, Mapping[str, Any]], begun: Set[str]
) -> dict[str, dict[str, Any]]:
    """The "optimizers" and "schedulers" of a checkpoint, of the structure of one's own.

    Those of the adapter may be on one side only.

    Args:
        own: What `after_a_step` answers.
        begun: Groups whose parameters have surely all made a step; of the others some may have no averages.

    Raises:
        UserError: They belong to other parameters; it names what differs first.
    """
    found: dict[str, dict[str, Any]] = {}
    for part, mine in own.items():
        loaded = {name: value for name, value in state[part].items() if name != ADAPTER or name in mine}
        mine = {name: value for name, value in mine.items() if name != ADAPTER or name in loaded}
        for name in mine.keys() & loaded.keys() - begun:
            averages = loaded[name].get("state") if isinstance(loaded[name], dict) else None
            if isinstance(averages, dict) and "state" in mine[name]:
                kept = {key: value for key, value in mine[name]["state"].items() if key in averages}
                mine[name] = {**mine[name], "state": kept}
        found[part] = fitted(loaded, mine, part)
    return found


def begun(state: State, config: TrainerConfig) -> set[str]:
    """Groups of parameters that have surely made a step when this checkpoint was saved."""
    if state["scalers"]:  # which skip steps
        return set()
    steps = {name: config.gradient_accumulation_steps.get(name, 1) for name in config.optimizers}
    return {name for name, needed in steps.items() if name != ADAPTER and state["step"] + 1 >= needed}


def foreign(path: Path, error: Exception) -> UserError:
    """The message for a checkpoint whose content does not fit this model."""
    reason = " ".join(str(error).split())[:160]
    return UserError(
        f"{path} belongs to another model; give the flags of its run, nothing was changed ({reason})"
    )
