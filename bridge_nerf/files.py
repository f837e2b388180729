"""Atomic writes, and auxiliary files that a run can do without."""

from __future__ import annotations

import csv
import io
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from bridge_nerf.errors import UserError
from bridge_nerf.reading import read_rows

UNFINISHED = "unfinished"
"""Ending of what is not whole yet: a hidden file or folder, .NAME.PID.unfinished."""


def write_atomic(path: Path, data: bytes, beside: Path | None = None) -> None:
    """Write a file such that at any moment, also when the process is killed, it is the old or the new one.

    See `atomic`.
    """
    with atomic(path, beside) as file:
        file.write(data)


@contextmanager
def atomic(path: Path, beside: Path | None = None) -> Iterator[BinaryIO]:
    """Context with a file to write to, which takes the place of `path` at its end, or not at all.

    Where the path is a link, the file that it leads to is written.

    Args:
        beside: Folder on the same disk for the unfinished file; by default the file's own. nerfstudio reads
            a step number out of *every* name in its checkpoint folder: no unfinished file may lie there.

    Raises:
        UserError: A folder, a device or a pipe lies there; it is left alone.
    """
    try:
        place = Path(os.path.realpath(path))
        if place.exists() and not place.is_file():
            raise UserError(f"{path} is no file but a folder, a device or a pipe; name a file")
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = _unfinished((beside or place.parent) / place.name)
        try:
            with open(unfinished, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, place)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_tensors(path: Path, values: object, beside: Path | None = None) -> None:
    """Write what `reading.read_tensors` reads, atomically; see `atomic`.

    By way of memory: on a full disk, torch's own writer raises a RuntimeError about positions in its archive.
    """
    import torch

    data = io.BytesIO()
    torch.save(values, data)
    with atomic(path, beside) as file:
        file.write(data.getbuffer())


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Context with an empty folder, which takes the place of `folder` at its end with all that it holds, or
    not at all. Killed in between, neither may be there.
    """
    unfinished = _unfinished(folder)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        for path in unfinished.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        if folder.exists():
            folder.rename(earlier := _unfinished(unfinished))
            unfinished.rename(folder)
            shutil.rmtree(earlier)
        else:
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes of this machine left unfinished in a folder."""
    for path in folder.glob(f".*.{UNFINISHED}"):
        pid = path.name.split(".")[-2]
        if pid.isdecimal() and not _runs(int(pid)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{UNFINISHED}")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        pass
    return True


def add_row(path: Path, row: Mapping[str, object]) -> None:
    """Add a row to a CSV file with a column "step", atomically.

    Rows of this step and of later ones go: a resumed run makes them again. Columns may come and go.
    """
    rows: list[Mapping[str, object]] = []
    if path.exists():
        old = read_rows(path, "remove it, and what is measured from here on is noted")
        rows += [line for line in old if int(line["step"]) < int(str(row["step"]))]
    rows.append(row)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(name for line in rows for name in line)))
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, text.getvalue().encode())


@contextmanager
def auxiliary(result: Path | str) -> Iterator[None]:
    """Context in which a run makes a file that it can do without: a video, a sheet, a plot, a page.

    A failure is one line that names the file and the reason, and everything else goes on.
    """
    try:
        yield
    except Exception as error:
        # Of whatever kind: codecs, Pillow and full disks raise what they like, and none of it is worth the
        # result beside which this would have stood. Ctrl-C is not an `Exception` and ends the run as ever.
        reason = " ".join(str(error).split()) or type(error).__name__
        print(f"{result} could not be made, everything else goes on: {reason}", file=sys.stderr, flush=True)


class Background:
    """A thread that makes and writes auxiliary files in order while the run goes on.

    Leaving the context waits for all of them, whatever ended it.
    """

    MAX_WAITING = 4
    """Files that may wait, with all that they are made of; one more waits for the first."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "files")
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Background:
        return self

    def __exit__(self, *_: object) -> None:
        with self._thread:
            self.wait()

    def write(self, path: Path, make: Callable[[], bytes]) -> None:
        """Write the answer of `make` to the file, later; a failure is one line."""
        while len(self._waiting) >= self.MAX_WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(_write_auxiliary, path, make))

    def wait(self) -> None:
        """Block until all files are written."""
        while self._waiting:
            self._waiting.popleft().result()


def _write_auxiliary(path: Path, make: Callable[[], bytes]) -> None:
    with auxiliary(path):
        write_atomic(path, make())
