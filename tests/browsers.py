"""The browser that some tests drive."""

import shutil

import pytest

from tests.waiting import PATIENCE

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
needs_chromium = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no browser: install chromium (apt install chromium)"),
]
"""Marks of a test that drives it."""
WEBGL = ["--use-gl=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]
"""Flags with which it draws in 3D without a GPU."""
SLOW = 1000 * PATIENCE
"""Milliseconds; playwright's own limits are measures of speed."""
