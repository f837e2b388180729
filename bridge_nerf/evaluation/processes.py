"""Scenes that are trained several at a time, each in a process of its own, and answered in order."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from bridge_nerf.errors import UserError, first_line
from bridge_nerf.evaluation.kept import KeptScenes, Run, Scene


def finished(
    kept: KeptScenes, train: Callable[[Run], Scene], processes: int, logs: Path
) -> Generator[tuple[Run, Scene], None, None]:
    """All runs in order with their scenes, each as soon as it and those before it are there.

    What is kept is not trained again; what is trained is kept at once, whatever becomes of the others.

    Args:
        train: Must be picklable where there are several processes.
        processes: Scenes trained at a time. 1 trains in this process; more in new ones of one torch thread
            each, whose output is printed when it is their turn.
        logs: Folder for that output, a file for each run.

    Raises:
        UserError: A run failed in its process, when it is its turn; those under way are ended. Or a kept
            scene is that of another run.
    """
    missing = kept.missing()
    with closing(_worked(partial(_train_and_keep, kept, train), missing, processes, logs)) as trained:
        for run in kept.identities:
            if run in missing:
                next(trained)
            scene = kept.read(run)
            assert scene is not None
            yield run, scene


def _train_and_keep(kept: KeptScenes, train: Callable[[Run], Scene], run: Run) -> None:
    kept.write(run, train(run))


def _worked(
    work: Callable[[Run], None], runs: Sequence[Run], processes: int, logs: Path
) -> Generator[None, None, None]:
    """None for each run, in order, when `work` is through with it."""
    if processes == 1:
        for run in runs:
            work(run)
            yield
        return
    logs.mkdir(parents=True, exist_ok=True)
    started: list[BaseProcess] = []
    stop = threading.Event()
    with ThreadPoolExecutor(processes) as pool:
        files = [logs / f"{run.stem}.log" for run in runs]
        futures = [
            pool.submit(_in_a_process, work, run, file, started, stop)
            for run, file in zip(runs, files, strict=True)
        ]
        try:
            for file, future in zip(files, futures, strict=True):
                failure = future.result()
                print(file.read_text(errors="replace"), end="", flush=True)
                if failure:
                    raise UserError(failure)
                yield
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            stop.set()
            for process in list(started):
                process.terminate()


def _in_a_process(
    work: Callable[[Run], None], run: Run, log: Path, started: list[BaseProcess], stop: threading.Event
) -> str:
    """Wait for `work` in a process of its own; answers what went wrong in one line, or nothing.

    The process joins `started` before `stop` is looked at, so that whoever ends them all misses none.
    """
    # Spawned: a fork of a process in which torch has run threads, or has a CUDA device, may stand still.
    context = get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(work, run, log, sending))
    process.start()
    started.append(process)
    if stop.is_set():
        process.terminate()
    sending.close()  # the process has one of its own, and its end is the end of the pipe
    with receiving:
        try:
            failure = receiving.recv()
        except EOFError:
            failure = None
    process.join()
    if failure is None:
        return f"{run.stem} ended without a word (exit code {process.exitcode}); its output is in {log}"
    return failure and f"{run.stem}: {failure}"


def _child(work: Callable[[Run], None], run: Run, log: Path, answer: Connection) -> None:
    with log.open("w") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    torch.set_num_threads(1)
    try:
        work(run)
    except UserError as error:
        answer.send(str(error))
    except SystemExit as error:  # with which a training ends for what the user can mend
        answer.send(str(error.code).removeprefix("error: "))
    except Exception as error:  # of whatever kind: one line for the user, and all of it for who mends it
        traceback.print_exc()
        answer.send(f"{type(error).__name__}: {first_line(error)}; all of it is in {log}")
    else:
        answer.send("")
