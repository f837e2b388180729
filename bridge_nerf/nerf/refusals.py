"""nerfstudio's commands that have no use for a run of this method: they would stop at an assertion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

MESH = '"bridge-nerf export RUN --to glb" writes a mesh of the run in the folder RUN'
REFUSED = {
    "marching-cubes": f"ns-export marching-cubes wants a signed distance, and this is a density; {MESH}",
    "gaussian-splat": f"ns-export gaussian-splat wants Gaussians, and this is a radiance field; {MESH}",
    "dataset": (
        "ns-render dataset looks through the cameras of photographs, and a prompt has none; take "
        '"ns-render interpolate", or "bridge-nerf render RUN" for the run in the folder RUN'
    ),
}
"""Subcommand -> why not, and what to do instead."""
PROGRAMS = ("ns-export", "exporter", "ns-render", "render")
"""The commands' names, as programs and as modules."""


def refuse_command(command: Sequence[str]) -> None:
    """Exit with one line where the command, a program with its arguments, is one of those."""
    if len(command) > 1 and Path(command[0]).stem in PROGRAMS and command[1] in REFUSED:
        raise SystemExit(f"error: {REFUSED[command[1]]}")
