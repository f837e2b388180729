"""A command that several processes work at, without knowing of each other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bridge_nerf.errors import Stopped


@contextmanager
def helpers(count: int) -> Iterator[None]:
    """The running command in `count` more processes on this machine, each with --devices 1 and a device of
    its own. They are waited for, and are told to end where this process is (KeyboardInterrupt, `Stopped`).
    One that fails or is killed takes nobody along.
    """
    command = [sys.executable, "-m", "bridge_nerf.cli", *sys.argv[1:], "--devices", "1"]
    own = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", 0)))
    started: list[subprocess.Popen] = []
    try:
        try:
            for k in range(1, count + 1):
                started.append(subprocess.Popen(command, env=os.environ | {"LOCAL_RANK": str(own + k)}))
            yield
        finally:
            if not isinstance(sys.exception(), KeyboardInterrupt | Stopped):
                _wait(started)
    except (KeyboardInterrupt, Stopped):
        for helper in started:
            helper.terminate()
        _wait(started)
        raise


def _wait(started: list[subprocess.Popen]) -> None:
    for helper in started:
        helper.wait()
