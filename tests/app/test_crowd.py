"""A crowd at the app's door, by the benchmark's script."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "visitors.py"


@pytest.mark.slow
def test_every_request_of_a_crowd_comes_to_an_end():
    command = [sys.executable, str(SCRIPT), "--visitors", "40", "--seconds", "60"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert re.search(r"short: answered", done.stdout)
    assert "LOST" not in done.stdout
    assert "the line is full" in done.stdout
    assert float(re.search(r"ratio ([\d.]+)", done.stdout)[1]) < 1.1  # type: ignore[index]
    assert "tracebacks in the log: 0" in done.stdout
