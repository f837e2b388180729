"""The command line: quick help, one-line errors."""

import subprocess
import sys

import pytest

from bridge_nerf import cli


def test_help_needs_no_torch():
    code = """
import sys
from bridge_nerf import cli
sys.argv = ["bridge-nerf", "--help"]
try:
    cli.main()
except SystemExit:
    print("torch" in sys.modules)
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip().endswith("False") and "evaluate-toybox" in answer.stdout


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["sample", "a zeppelin"], "zeppelin"),
        (["sample", "a duck", "--count", "0"], "must be positive"),
        (["sample", "a duck", "--prior", "/nowhere/at/all"], "/nowhere/at/all"),
        (["evaluate-toybox", "--what", "judge", "--judge", "/nowhere"], "no judge"),
    ],
)
def test_bad_input_is_one_line_without_a_traceback(arguments, words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bridge-nerf", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    message = str(stop.value)
    assert words in message and "\n" not in message
