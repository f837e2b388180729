"""The app's command line: what makes no sense ends it in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE

APP = Path(__file__).parents[2] / "app.py"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--prior", "nonsense"), 'unknown prior "nonsense"'),
        (("--port", "70000"), "70000 is not a port"),
        (("--port", "{taken}"), "port"),
    ],
)
def test_bad_flags_end_in_one_line(served, tmp_path, flags, said):
    taken = served.rsplit(":", 1)[1].strip("/")
    command = [sys.executable, str(APP), *(flag.format(taken=taken) for flag in flags)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert said in done.stderr.splitlines()[-1]
