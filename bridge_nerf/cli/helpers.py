"""A command that several processes work at, without knowing of each other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def helpers(count: int) -> Iterator[None]:
    """The running command in `count` more processes on this machine, each with --devices 1 and a device of
    its own. They are waited for, and end with this process where it is told to end (SIGTERM). One that fails
    or is killed takes nobody along.
    """
    command = [sys.executable, "-m", "bridge_nerf.cli", *sys.argv[1:], "--devices", "1"]
    own = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", 0)))
    started: list[subprocess.Popen] = []

    def end(*_: object) -> None:
        for helper in started:
            helper.terminate()
        sys.exit("bridge-nerf: told to end; the same command goes on from what was saved")

    before = signal.signal(signal.SIGTERM, end)
    try:
        for k in range(1, count + 1):
            started.append(subprocess.Popen(command, env=os.environ | {"LOCAL_RANK": str(own + k)}))
        yield
    finally:
        for helper in started:
            helper.wait()
        signal.signal(signal.SIGTERM, before)
