"""`bridge-nerf`: everything that is not `ns-train`.

A command is a dataclass whose fields are its flags and whose `run` does the work. Nothing here imports torch
at its top: it comes in once the command line has been understood, so that `--help` answers at once.
"""

from bridge_nerf.cli.main import main

__all__ = ["main"]
