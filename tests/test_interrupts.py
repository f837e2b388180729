"""Signals that end a command keep what there is, whoever sends them."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from bridge_nerf.interrupts import ENDING, ended_as_by_ctrl_c, interruptible

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
def test_a_step_is_not_torn_and_the_second_signal_stops_at_once(number) -> None:
    with ended_as_by_ctrl_c(), pytest.raises(KeyboardInterrupt), interruptible() as interrupted:
        signal.raise_signal(number)
        assert interrupted.is_set()
        signal.raise_signal(number)
