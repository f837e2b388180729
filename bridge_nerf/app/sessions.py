"""Visitors' rooms: a folder and a way to say stop, for each visitor and each tab of the app."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bridge_nerf.files import write_atomic

IDLE = 3600.0
"""Seconds after which the room of somebody who did not say goodbye (a program, a lost line) is cleared."""


class Room:
    """Where the files of one visitor and tab lie. Their latest run alone has files in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.used = time.monotonic()
        self.stop = threading.Event()
        self.busy = self.left = False
        self._numbers = itertools.count()

    @contextmanager
    def run(self) -> Iterator[None]:
        """While a run is under way: empties the room before."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        if not self.left:  # a stop for good
            self.stop.clear()
        self.busy = True
        try:
            yield
        finally:
            self.busy, self.used = False, time.monotonic()
            if self.left:
                shutil.rmtree(self.folder, ignore_errors=True)

    def leave(self) -> None:
        """Nobody looks on any longer: ends the run and removes the files, at the latest once it has ended."""
        self.left = True
        self.stop.set()
        if not self.busy:
            shutil.rmtree(self.folder, ignore_errors=True)

    def keep(self, data: bytes, kind: str) -> Path:
        """A new file. Each has a name of its own, or browsers would show an old one from their cache."""
        path = self.folder / f"{next(self._numbers):05d}.{kind}"
        write_atomic(path, data)
        return path


class Visitors:
    """All rooms.

    Args:
        root: Folder for all their folders.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._rooms: dict[tuple[str, str], Room] = {}
        self._lock = threading.Lock()

    def room(self, session: str | None, tab: str) -> Room:
        """The visitor's room for a tab. The folder's name is ours: a session's is whatever a client sends."""
        self.sweep()
        with self._lock:
            key = session or "", tab
            if key not in self._rooms:
                self.root.mkdir(parents=True, exist_ok=True)
                self._rooms[key] = Room(Path(tempfile.mkdtemp(dir=self.root)))
            room = self._rooms[key]
            room.used = time.monotonic()
            return room

    def stop(self, session: str | None, tab: str) -> bool:
        """Ask the visitor's run to end; False where none is under way."""
        room = self._rooms.get((session or "", tab))
        if room is None or not room.busy:
            return False
        room.stop.set()
        return True

    def leave(self, session: str | None) -> None:
        """The visitor has gone: ends the runs, removes the files."""
        with self._lock:
            self._clear([key for key in self._rooms if key[0] == (session or "")])

    def sweep(self, idle: float = IDLE) -> None:
        """Clears the rooms where nothing has happened for `idle` seconds."""
        with self._lock:
            now = time.monotonic()
            self._clear([k for k, room in self._rooms.items() if not room.busy and now - room.used > idle])

    def _clear(self, keys: list[tuple[str, str]]) -> None:
        for key in keys:
            self._rooms.pop(key).leave()
