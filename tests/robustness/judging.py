"""What counts as an answer to bad input, and the bounds within which it has to come."""

from __future__ import annotations

import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings

from bridge_nerf.errors import UserError
from tests.waiting import PATIENCE

ROOM = 3 * 2**30
"""Bytes that a case may take beside what the process has."""


class Endless(BaseException):
    """A case that did not end."""


@contextmanager
def bounded() -> Iterator[None]:
    """Context that may neither last longer than PATIENCE nor take more memory than ROOM."""

    def end(*_: object) -> None:
        raise Endless(f"no answer within {PATIENCE:.0f} s")

    before, limits = signal.signal(signal.SIGALRM, end), resource.getrlimit(resource.RLIMIT_AS)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def refusal(call: Callable[[], object]) -> str | None:
    """The one line in which a call refuses its input; None where it accepts it. Whatever else it raises, it
    raises here too."""
    try:
        with bounded():
            call()
    except UserError as error:
        said = str(error)
    except SystemExit as stop:
        assert isinstance(stop.code, str), f"an exit with the code {stop.code} and without a word"
        said = stop.code
    else:
        return None
    assert said.strip() and len(said.splitlines()) == 1, f"not one line: {said!r}"
    assert "Traceback" not in said
    return said


def cases(number: int) -> settings:
    """Settings of so many cases, the same ones in every run; a case says what it is and need not shrink."""
    return settings(
        max_examples=number,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
