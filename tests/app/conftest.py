"""The app, served once for all tests of this folder as a user serves it, on the toybox.

In a process of its own: in this one the shapes of all signatures are checked by wrapping every function, and
gradio would no longer see which of them are generators.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.browsers import CHROMIUM, WEBGL
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def app() -> ModuleType:
    """`app.py` as a module, in this process."""
    specification = importlib.util.spec_from_file_location("app", ROOT / "app.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def log(tmp_path_factory) -> Path:
    """What the served app writes to its terminal."""
    return tmp_path_factory.mktemp("app") / "log"


@pytest.fixture(scope="session")
def served(log) -> Iterator[str]:
    """The address of the page; the app itself finds a free port, which nobody can take in between."""
    environment = os.environ | {
        "TMPDIR": str(log.parent),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "PYTHONUNBUFFERED": "1",
    }
    with log.open("w") as out:
        app = subprocess.Popen(
            [sys.executable, str(ROOT / "app.py")],
            cwd=log.parent,
            env=environment,
            stdout=out,
            stderr=out,
        )
    try:
        yield _address(app, log)
    finally:
        app.terminate()
        app.wait(PATIENCE)
    assert not list(log.parent.glob("bridge-nerf-*")), "the app left files behind"


def _address(app: subprocess.Popen, log: Path) -> str:
    """What the app says once it answers."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and app.poll() is None:
        if said := re.search(r"http://127\.0\.0\.1:\d+", log.read_text()):
            return f"{said[0]}/"
        time.sleep(0.2)
    pytest.fail(f"the app does not answer:\n{log.read_text()}")


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    from playwright.sync_api import sync_playwright

    flags = [*WEBGL, "--disable-background-networking"]
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=flags) as browser,
    ):
        yield browser
