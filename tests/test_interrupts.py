"""Signals that end a command keep what there is, whoever sends them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from bridge_nerf.interrupts import ENDING, Interruption, ended_as_by_ctrl_c, interruptible

NUMBERS = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    """The handlers of a fresh process, whatever this one was started with."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_signals_act_as_ctrl_c(number) -> None:
    with pytest.raises(KeyboardInterrupt), ended_as_by_ctrl_c():
        signal.raise_signal(number)
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize("number", NUMBERS)
def test_an_ignored_signal_stays_ignored(number) -> None:
    signal.signal(number, signal.SIG_IGN)  # as nohup does
    with ended_as_by_ctrl_c():
        signal.raise_signal(number)
        assert signal.getsignal(number) is signal.SIG_IGN


@pytest.mark.parametrize("number", [signal.SIGINT, *NUMBERS])
def test_a_step_is_not_torn_and_the_second_signal_stops_at_once(number: signal.Signals) -> None:
    again = signal.SIGINT if number == signal.SIGHUP else number
    with ended_as_by_ctrl_c(), pytest.raises(KeyboardInterrupt), interruptible() as interrupted:
        signal.raise_signal(number)
        assert interrupted.is_set() and interrupted.number == number
        signal.raise_signal(again)


@pytest.mark.parametrize("number", [signal.SIGINT, *NUMBERS])
def test_a_terminal_that_is_closed_may_say_so_again(number: signal.Signals) -> None:
    with ended_as_by_ctrl_c(), interruptible() as interrupted:
        for each in (number, signal.SIGHUP, signal.SIGHUP):
            signal.raise_signal(each)
        assert interrupted.number == number


def test_what_is_told_may_end_it_at_once() -> None:
    def told(interruption: Interruption) -> None:
        assert interruption.is_set()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), interruptible(told):
        signal.raise_signal(signal.SIGINT)


def test_nothing_ends_for_want_of_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with interruptible():
            os.close(reading)  # as where Ctrl-C ends `tee` too
            with pytest.raises(BrokenPipeError):
                print("before", flush=True)
            signal.raise_signal(signal.SIGINT)
            print("after", flush=True)
        assert sys.stdout is stream
        print("at the end", flush=True)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a disk that is always full is Linux's")
def test_a_full_disk_is_no_want_of_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    with interruptible():
        full = os.open("/dev/full", os.O_WRONLY)
        monkeypatch.setattr(sys, "stdout", os.fdopen(full, "w", buffering=1))
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(OSError, match="No space left"):
            print("after", flush=True)
    os.dup2(null := os.open(os.devnull, os.O_WRONLY), full)  # for what is left in its buffer
    os.close(null)
