"""Signals that end a command: what there is is kept, whoever sends them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

ENDING = ("SIGTERM", "SIGHUP")
"""Signals by which a scheduler, a container or a terminal ends a process; not every system has both."""


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


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, or another signal that acts as Ctrl-C, so that no step is torn.

    The second one acts as ever. Signals that are ignored, or that the program has another use for, are left
    alone.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    alike = [n for n in signal.valid_signals() if signal.getsignal(n) is signal.default_int_handler]

    def interrupt(*_: Any) -> None:
        event.set()
        for number in alike:
            signal.signal(number, signal.default_int_handler)

    with _handled(alike, interrupt):
        yield event


@contextmanager
def _handled(numbers: Sequence[int], handler: Any = signal.default_int_handler) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
