"""What is skipped is said, with its reason, right above the line that counts, with any number of workers."""

import subprocess
import sys
from pathlib import Path

import pytest

SUITE = """
import pytest

@pytest.mark.parametrize("k", range(3))
@pytest.mark.skipif(True, reason="no browser: install chromium")
def test_in_a_browser(k): pass

def test_here(): pass
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_the_last_lines_say_what_was_skipped(tmp_path: Path, workers: int) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_terminal_summary\n")
    command = [sys.executable, "-m", "pytest", "-ra", "-n", str(workers), "-p", "no:cacheprovider", "."]
    environment = {"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    said, counted = done.stdout.splitlines()[-2:]
    assert said == "NOT TESTED, 3 skipped: no browser: install chromium"
    assert "1 passed, 3 skipped" in counted
