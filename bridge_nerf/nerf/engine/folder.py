"""A run's folder: made with those above it that there are not, and removed with them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path


def make(folder: Path) -> tuple[Path, ...]:
    """Make a folder, and those above it; answers those that were not there, the innermost first.

    Raises:
        FileExistsError: It is there.
    """
    lacking = [place for place in folder.parents if not place.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except BaseException:
        _remove_empty(lacking)
        raise
    return folder, *lacking


def remove(made: Sequence[Path]) -> None:
    """Remove a folder, with all that it holds, and those that were made for it and hold nothing else."""
    shutil.rmtree(made[0], ignore_errors=True)
    _remove_empty(made[1:])


def _remove_empty(folders: Iterable[Path]) -> None:
    with suppress(OSError):  # the first that holds something else, and those above it, stay
        for place in folders:
            place.rmdir()
