"""Which numbers of a configuration the user gave, and which follow from the prior and the objective."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from bridge_nerf.distillation.registry import StageOptions
from bridge_nerf.distillation.requested import SLOTS, check_requested
from bridge_nerf.errors import UserError
from bridge_nerf.flags import leaves


def typed() -> set[str]:
    """The flags that stand on the command line."""
    words = (word for word in sys.argv if word.startswith("--"))
    return {word.split("=")[0].removeprefix("--").replace("_", "-") for word in words}


def given(config: Any, registered: Any) -> set[str]:
    """The flags that the user gave: whatever differs from the registered method, or stands on the command
    line, since the value that was given may be the registered one."""
    said, usual = typed(), dict(leaves(registered))
    return {flag for flag, value in leaves(config) if flag in said or value != usual.get(flag, ...)}


def follow(config: Any, defaults: Any, keep: set[str]) -> list[str]:
    """Take over the defaults, but for the flags to keep; answers what has changed, as flags."""
    mine, changed = dict(leaves(config)), []
    for flag, value in leaves(defaults):
        if flag in mine and flag not in keep and mine[flag] != value:
            _put(config, flag, deepcopy(value))
            changed.append(f"--{flag} {shlex.quote(str(value))}")
    return changed


def _put(config: Any, flag: str, value: Any) -> None:
    *path, name = flag.replace("-", "_").split(".")
    for part in path:
        config = config[part] if isinstance(config, dict) else getattr(config, part)
    setattr(config, name, value)


def check_given(config: Any, flags: set[str]) -> None:
    """Refuse what was given to no effect.

    Args:
        config: A `BridgeTrainerConfig`.
        flags: What was given, as by `given`.

    Raises:
        UserError: A flag changes nothing beside the others.
    """
    pipeline = config.pipeline
    names = {"adapter_rate": "optimizers.adapter.optimizer.lr"} | {
        name: f"pipeline.{name.replace('_', '-')}"
        for name in (*StageOptions.__dataclass_fields__, *SLOTS.keys() - {"adapter_rate"})
    }
    spelled = {name: f"--{flag}" for name, flag in names.items() if flag in flags}
    check_requested([pipeline.listener()], spelled)
    for pattern, condition in _idle(pipeline):
        if idle := sorted(flag for flag in flags if re.fullmatch(rf"pipeline\.{pattern}", flag)):
            raise UserError(f"--{idle[0]} changes nothing while {condition}: leave it out, or change that")


def _idle(pipeline: Any) -> Iterator[tuple[str, str]]:
    """(pattern of flags, the condition under which they change nothing) as the configuration stands."""
    model, field, cameras = pipeline.model, pipeline.model.field, pipeline.datamanager
    if not pipeline.timestep_anneal_steps:
        yield r"timestep-(final-maximum|anneal-begin)", "--pipeline.timestep-anneal-steps is 0"
    if not (model.sparsity_weight or model.entropy_weight or model.distortion_weight):
        yield r"model\.regularise-.*", "the weights of sparsity, entropy and distortion are 0"
    if not model.entropy_weight:
        yield r"model\.entropy-from", "--pipeline.model.entropy-weight is 0"
    if cameras.final_resolution in (None, cameras.train_resolution):
        yield r"datamanager\.final-resolution-from", "training images keep their size"
    if not cameras.orbit.overhead_share:
        yield r"datamanager\.orbit\.overhead-range", "--pipeline.datamanager.orbit.overhead-share is 0"
    if model.background in ("random", "learned"):
        yield "background-words", f"--pipeline.model.background is {model.background}, which has no name"
    other = "hash" if field.encoding == "grid" else "grid"
    yield rf"model\.field\.{other}-.*", f"--pipeline.model.field.encoding is {field.encoding}"
