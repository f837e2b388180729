"""Signals that end a command: what there is is kept, whoever sends them."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

ENDING = ("SIGTERM", "SIGHUP")
"""Signals by which a scheduler, a container or a terminal ends a process; not every system has both."""
STREAMS = "stdout", "stderr"


@contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """Context in which the signals in ENDING raise KeyboardInterrupt in the main thread, as Ctrl-C does.

    One that is ignored stays so, as SIGHUP under nohup. Other threads get no signals, and nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    known = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    with _handled([number for number in known if signal.getsignal(number) is signal.SIG_DFL]):
        yield


class Interruption(threading.Event):
    """Set by the first signal that asks to end."""

    number: signal.Signals | None = None
    """That signal."""


@contextmanager
def interruptible(told: Callable[[Interruption], None] | None = None) -> Iterator[Interruption]:
    """An event that the first Ctrl-C sets, or another signal that acts as Ctrl-C, so that no step is torn.

    The second one acts as ever, but for SIGHUP, of which a terminal that is closed sends several. From the
    first one on it ends nothing that standard output or error has no reader any more: Ctrl-C ends the other
    programs of a pipe too. Signals that are ignored, or that the program has another use for, are left alone.

    Args:
        told: Called at the first one, amid whatever runs: it writes with `say` alone, and may raise.
    """
    event = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    alike = [n for n in signal.valid_signals() if signal.getsignal(n) is signal.default_int_handler]

    def interrupt(number: int, _: Any) -> None:
        event.number = signal.Signals(number)
        event.set()
        for other in alike:
            hangup = other == getattr(signal, "SIGHUP", None)
            signal.signal(other, signal.SIG_IGN if hangup else signal.default_int_handler)
        for name in STREAMS:
            setattr(sys, name, _Unread(getattr(sys, name)))
        if told is not None:
            told(event)

    with _handled(alike, interrupt):
        try:
            yield event
        finally:
            for name in STREAMS:
                if isinstance(stream := getattr(sys, name), _Unread):
                    setattr(sys, name, stream.stream)


def say(line: str) -> None:
    """Write a line to standard error from within a signal's handler, where `print` may be amid another."""
    with suppress(OSError):
        os.write(2, f"\n{line}\n".encode())


class _Unread:
    """A stream that goes nowhere once its reader is gone."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        with self._nowhere():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._nowhere():
            self.stream.flush()

    @contextmanager
    def _nowhere(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):  # EIO: of a terminal that was closed
                raise
            # Of the descriptor, not of the object: Python writes what is left in its buffer when it ends.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)


@contextmanager
def _handled(numbers: Sequence[int], handler: Any = signal.default_int_handler) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
