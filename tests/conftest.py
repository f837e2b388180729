"""Every type and shape that a signature promises is checked while the tests run, and what was skipped is said
at their end.
"""

import signal
from collections import Counter

import pytest
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

# Whoever started the tests may have let some be ignored, as a shell does with Ctrl-C for what runs beside it.
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)

typechecker = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""Takes an int for a float, as PEP 484 does."""

install_import_hook("bridge_nerf", "tests.conftest.typechecker")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter):
    """A line for each reason to skip, right above the line that counts: what was not tried is no success."""
    result = yield
    reasons = Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", ()))
    for reason, count in reasons.items():
        words = reason.removeprefix("Skipped: ")
        terminalreporter.write_line(f"NOT TESTED, {count} skipped: {words}", yellow=True)
    return result
