"""A run as the commands that repeat, continue and show it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from itertools import chain
from pathlib import Path
from typing import Any

OWN = {"timestamp", "load_dir", "load_step", "load_checkpoint", "load_config", "prompt", "data"}
"""Fields that say where a run comes from, not what it is; the commands spell them out themselves."""


def differences(config: Any, default: Any, prefix: str = "") -> Iterator[str]:
    """ns-train's flags, with values, for everything in `config` that differs from `default`."""
    named = {f.name: f.name for f in fields(config)} if is_dataclass(config) else {key: key for key in config}
    for name in named:
        if name.startswith("_") or (not prefix and name in OWN):
            continue
        value, usual = (
            part[name] if isinstance(part, dict) else getattr(part, name) for part in (config, default)
        )
        flag = f"{prefix}{name.replace('_', '-')}"
        if is_dataclass(value) or (isinstance(value, dict) and value.keys() == usual.keys()):
            yield from differences(value, usual, f"{flag}.")
        elif value != usual:
            values = value if isinstance(value, list | tuple) else [value]
            if isinstance(value, dict):
                values = chain.from_iterable(value.items())
            yield f"--{flag} {shlex.join(str(v) for v in values)}"


def train(config: Any, default: Any, without: tuple[str, ...] = ()) -> str:
    """The command that starts the same run again, but for the flags `without`."""
    left_out = ("pipeline.model.prompt", *without)
    flags = [f for f in differences(config, default) if f.split()[0][2:] not in left_out]
    prompt = shlex.quote(config.pipeline.model.prompt)
    return " ".join([f"ns-train {config.method_name} --prompt {prompt}", *flags])


def resume(config: Any, default: Any, checkpoint: Path, step: int, steps: int) -> str:
    """The command that goes on from a checkpoint for `steps` more steps (nerfstudio 1.1's meaning of the
    flag)."""
    where = f"--load-dir {shlex.quote(str(checkpoint.parent))} --load-step {step}"
    return f"{train(config, default, ('max-num-iterations',))} {where} --max-num-iterations {steps}"


def view(config_file: Path) -> str:
    """The command that opens the result in the viewer."""
    # ns-viewer has defaults of its own: open to the network, and cameras drawn in front of the object.
    flags = "--viewer.websocket-host 127.0.0.1 --viewer.max-num-display-images 0"
    return f"ns-viewer --load-config {shlex.quote(str(config_file))} {flags}"


def render(config_file: Path) -> str:
    """The command that renders turntable.mp4 into the current folder (it needs the program ffmpeg)."""
    quoted = shlex.quote(str(config_file))
    return f"ns-render interpolate --load-config {quoted} --output-path turntable.mp4"
