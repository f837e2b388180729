"""The folder of a running app, which holds all its files, and the limit on those of its visitors."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX = "bridge-nerf-app-"
"""Beginning of the names of these folders; nothing else makes any that begin like this."""
LOCK = "lock"
"""File in it that is locked as long as its app lives: however that ends, the kernel gives the lock back."""
MAX_UPLOADED_BYTES = 2 * 2**30
MAX_UPLOADED_FILES = 2000


@contextmanager
def own_folder() -> Iterator[Path]:
    """Context in which there is a folder that belongs to this process alone, and is removed at the end.

    Folders that apps of this user have left behind, as they were killed, are removed first.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        _remove_abandoned(folder)
    folder, lock = _locked_folder()
    try:
        yield folder
    finally:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def _locked_folder() -> tuple[Path, FileLock]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = _lock_of(folder)
        try:
            lock.acquire()
        except Timeout:  # another app has just begun, and takes the folder for an abandoned one
            continue
        folder.chmod(0o700)  # it may have removed it, too, and the lock made it anew
        return folder, lock


def _remove_abandoned(folder: Path) -> None:
    try:
        status = folder.lstat()  # of a link, not of what it leads to
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid():
            with _lock_of(folder):
                shutil.rmtree(folder, ignore_errors=True)
    except (Timeout, OSError):  # its app lives; or it is being removed by another one
        pass


def _lock_of(folder: Path) -> FileLock:
    return FileLock(folder / LOCK, timeout=0, fallback_to_soft=False)


class Uploads:
    """The files in gradio's folder that are there because of visitors: uploads, whole and broken off.

    Args:
        root: The folder.
        apart: A folder within that has a limit of its own.
        max_bytes: Most bytes of all together.
        max_files: Most files.
    """

    def __init__(
        self,
        root: Path,
        apart: Path,
        max_bytes: int = MAX_UPLOADED_BYTES,
        max_files: int = MAX_UPLOADED_FILES,
    ) -> None:
        self.root, self.apart = root, apart
        self._max_bytes, self._max_files = max_bytes, max_files
        self._own: frozenset[Path] = frozenset()

    def keep_present(self) -> None:
        """Take what lies there now for the app's own: the files that its page shows to everybody."""
        self._own = frozenset(self._files())

    def make_room(self, size: int = 0) -> None:
        """Remove the oldest, until another one of `size` bytes fits."""
        found = []
        for path in self._files():
            try:
                found.append((path.stat(), path))
            except FileNotFoundError:  # somebody's run has just ended
                continue
        found.sort(key=lambda entry: entry[0].st_mtime)
        total, count = sum(status.st_size for status, _ in found) + size, len(found) + 1
        for status, path in found:
            if total <= self._max_bytes and count <= self._max_files:
                break
            path.unlink(missing_ok=True)
            total, count = total - status.st_size, count - 1

    def _files(self) -> Iterator[Path]:
        for folder, folders, names in os.walk(self.root):
            if Path(folder) == self.apart:
                folders.clear()
                continue
            yield from (path for name in names if (path := Path(folder, name)) not in self._own)
