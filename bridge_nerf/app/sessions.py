"""Sessions: a folder and a way to stop, for each visitor and each tab of the app."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bridge_nerf.errors import UserError
from bridge_nerf.files import write_atomic

END_TIMEOUT_S = 10.0
"""Seconds for which the end of the app waits for runs under way: they end at their next image."""
IDLE_TIMEOUT_S = 3600.0
"""Seconds after which a session is removed that never ended (a program's, a lost connection's)."""


class Session:
    """The files and the stop event of one visitor in one tab. Only the latest run has files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.used = time.monotonic()
        self.stop = threading.Event()
        self.busy = self.closed = False
        self._numbers = itertools.count()

    @contextmanager
    def run(self) -> Iterator[None]:
        """Empty the folder and be busy while a run is under way."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        if not self.closed:  # a stop for good
            self.stop.clear()
        self.busy = True
        try:
            yield
        finally:
            self.busy, self.used = False, time.monotonic()
            if self.closed:
                shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """End the run and remove the files, at the latest once it has ended."""
        self.closed = True
        self.stop.set()
        if not self.busy:
            shutil.rmtree(self.folder, ignore_errors=True)

    def new_file(self, data: bytes, suffix: str) -> Path:
        """Write a file under a name of its own, or browsers would show an old one from their cache."""
        path = self.folder / f"{next(self._numbers):05d}.{suffix}"
        write_atomic(path, data)
        return path


class Sessions:
    """All sessions, by gradio's hash of the visitor and by tab.

    Args:
        root: Folder for all their folders.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._sessions: dict[tuple[str, str], Session] = {}
        self._lock = threading.Lock()
        self._ended = False

    def get(self, visitor: str | None, tab: str) -> Session:
        """The visitor's session in a tab. Its folder's name is ours: the visitor's is what a client sends.

        Raises:
            UserError: The app is about to end.
        """
        self.close_idle()
        with self._lock:
            if self._ended:
                raise UserError("the app is about to end; come back later")
            key = visitor or "", tab
            if key not in self._sessions:
                self.root.mkdir(parents=True, exist_ok=True)
                self._sessions[key] = Session(Path(tempfile.mkdtemp(dir=self.root)))
            session = self._sessions[key]
            session.used = time.monotonic()
            return session

    def stop(self, visitor: str | None, tab: str) -> bool:
        """Ask the visitor's run to end; False where none is under way."""
        session = self._sessions.get((visitor or "", tab))
        if session is None or not session.busy:
            return False
        session.stop.set()
        return True

    def close(self, visitor: str | None) -> None:
        """Close all sessions of a visitor who has gone."""
        with self._lock:
            self._close([key for key in self._sessions if key[0] == (visitor or "")])

    def end(self, timeout: float = END_TIMEOUT_S) -> None:
        """Close all sessions for good, and wait until their runs have ended: who still writes would make the
        folder anew.
        """
        with self._lock:
            self._ended, sessions = True, list(self._sessions.values())
            self._close(list(self._sessions))
        end = time.monotonic() + timeout
        while any(session.busy for session in sessions) and time.monotonic() < end:
            time.sleep(0.02)

    def close_idle(self, timeout: float = IDLE_TIMEOUT_S) -> None:
        """Close the sessions in which nothing has happened for `timeout` seconds."""
        with self._lock:
            oldest = time.monotonic() - timeout
            self._close([key for key, s in self._sessions.items() if not s.busy and s.used < oldest])

    def _close(self, keys: list[tuple[str, str]]) -> None:
        for key in keys:
            self._sessions.pop(key).close()
