"""Commands that repeat, continue and show a run."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from bridge_nerf.errors import UserError
from bridge_nerf.flags import leaves
from bridge_nerf.reading import read_text

OWN = {"timestamp", "load-dir", "load-step", "load-checkpoint", "load-config", "prompt", "data"}
"""Flags that say where a run comes from, not what it is, which the commands spell out themselves."""


def differences(config: Any, default: Any) -> Iterator[tuple[str, str]]:
    """(flag, values as in a shell) of everything in `config` that differs from `default`."""
    usual, whole = {leaf.flag: leaf.value for leaf in leaves(default)}, {}
    for flag, _, name, value in leaves(config):
        if flag not in usual:  # an entry of a dictionary that is empty by default: tyro takes it as a whole
            whole.setdefault(flag.rpartition(".")[0], []).extend([name, value])
        elif value != usual[flag]:
            yield flag, _shell(value if isinstance(value, list | tuple) else [value])
    yield from ((flag, _shell(entries)) for flag, entries in whole.items())


def _shell(values: Iterable[Any]) -> str:
    return shlex.join(str(value) for value in values)


def train(config: Any, default: Any, without: Collection[str] = ()) -> str:
    """The command that starts the same run again, but for the flags `without`."""
    left_out = {"pipeline.model.prompt", *OWN, *without}
    flags = [f"--{flag} {value}" for flag, value in differences(config, default) if flag not in left_out]
    prompt = shlex.quote(config.pipeline.model.prompt)
    return " ".join([f"ns-train {config.method_name} --prompt {prompt}", *flags])


def resume(
    config: Any, default: Any, checkpoint: Path, step: int, steps: int, without: Collection[str] = ()
) -> str:
    """The command that goes on from a checkpoint for `steps` more steps (nerfstudio 1.1's meaning of the
    flag), but for the flags `without`."""
    where = f"--load-dir {shlex.quote(str(checkpoint.parent))} --load-step {step}"
    return f"{train(config, default, {'max-num-iterations', *without})} {where} --max-num-iterations {steps}"


def viewer(config_file: Path) -> str:
    """The command that opens the result in the viewer."""
    # ns-viewer has defaults of its own: open to the network, and cameras drawn in front of the object.
    flags = "--viewer.websocket-host 127.0.0.1 --viewer.max-num-display-images 0"
    return f"ns-viewer --load-config {shlex.quote(str(config_file))} {flags}"


def render(folder: Path) -> str:
    """The command that films the result all round, into the run's folder."""
    return f"bridge-nerf render {shlex.quote(str(folder))}"


def export(folder: Path) -> str:
    """The command that makes a mesh of the result, in the run's folder."""
    return f"bridge-nerf export {shlex.quote(str(folder))} --to glb"


def noted(folder: Path, name: str) -> str | None:
    """The command of this name in the commands.txt of a run's folder; None where it holds none."""
    try:
        lines = read_text(folder / "commands.txt").split("\n")
    except UserError:
        return None
    return next((line.removeprefix(name).strip() for line in lines if line.startswith(f"{name} ")), None)
