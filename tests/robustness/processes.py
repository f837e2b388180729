"""Calls in processes that are forked off the tests' own, so that they can be killed and cost no imports."""

from __future__ import annotations

import io
import multiprocessing
import resource
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch

from tests.waiting import PATIENCE

FORK = multiprocessing.get_context("fork")


class End(NamedTuple):
    """The end of a process."""

    code: Any
    """As in SystemExit, or a traceback."""
    said: str


def begin(call: Callable[[], object], most: int | None = None) -> tuple[Any, Connection]:
    """(process that makes the call, pipe to its end).

    Args:
        most: Bytes that a file may have; to write more fails, as on a full disk.
    """
    here, there = FORK.Pipe(duplex=False)

    def run() -> None:
        if most is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        torch.set_num_threads(1)
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            code: Any = None
            try:
                call()
            except SystemExit as stop:
                code = stop.code
            except BaseException:
                code = traceback.format_exc()
        there.send(End(code, said.getvalue()))

    process = FORK.Process(target=run)
    process.start()
    there.close()
    return process, here


def end(call: Callable[[], object], most: int | None = None) -> End:
    """The end of a call in a process of its own."""
    process, pipe = begin(call, most)
    try:
        assert pipe.poll(PATIENCE), "no end"
        return pipe.recv()
    finally:
        process.kill()
        process.join()
