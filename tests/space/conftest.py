"""The app, served once for all tests of this folder as a user serves it, on the toybox.

In a process of its own: in this one the shapes of all signatures are checked by wrapping every function, and
gradio would no longer see which of them are generators.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
"""Seconds until the page must answer, on however busy a machine."""


@pytest.fixture(scope="session")
def served(tmp_path_factory) -> Iterator[str]:
    """The address of the page."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("app") / "log"
    environment = os.environ | {"TMPDIR": str(log.parent), "GRADIO_ANALYTICS_ENABLED": "False"}
    with log.open("w") as out:
        app = subprocess.Popen(
            [sys.executable, str(ROOT / "app.py"), "--port", str(port)],
            cwd=log.parent,
            env=environment,
            stdout=out,
            stderr=out,
        )
    url = f"http://127.0.0.1:{port}/"
    try:
        _wait(url, app, log)
        yield url
    finally:
        app.terminate()
        app.wait(30)
    assert not list(log.parent.glob("bridge-nerf-*")), "the app left files behind"


def _wait(url: str, app: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and app.poll() is None:
        try:
            with urllib.request.urlopen(url):
                return
        except urllib.error.URLError:
            time.sleep(0.2)
    pytest.fail(f"the app does not answer:\n{log.read_text()}")
