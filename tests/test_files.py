"""Files that are whole or absent, and those that a run can do without."""

import os
import subprocess
import threading
from functools import partial
from pathlib import Path

import pytest

from bridge_nerf import files
from bridge_nerf.errors import UserError
from tests.waiting import PATIENCE


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_write_that_dies_leaves_the_old_file(
    tmp_path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    path = tmp_path / "file"
    files.write_atomic(path, b"old")

    def die(*_) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"bridge_nerf.files.os.{moment}", die)
    with pytest.raises(OSError, match="No space"):
        files.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_rows_that_a_resumed_run_makes_again_replace_the_old_ones(tmp_path) -> None:
    path = tmp_path / "numbers.csv"
    for step in (0, 5, 10):
        files.add_row(path, {"step": step, "a": 0.1})
    files.add_row(path, {"step": 5, "a": 0.25, "b": 3})
    assert path.read_text().split() == ["step,a,b", "0,0.1,", "5,0.25,3"]


def test_what_a_run_can_do_without_costs_a_line(tmp_path, capsys) -> None:
    with files.auxiliary(tmp_path / "film.mp4"):
        raise RuntimeError("no\ncodec")
    said = capsys.readouterr().err
    assert said.startswith(f"{tmp_path / 'film.mp4'} could not be made") and said.endswith(": no codec\n")
    with pytest.raises(KeyboardInterrupt), files.auxiliary("the video"):
        raise KeyboardInterrupt


def test_files_in_the_background_are_written_in_order_and_are_there_at_the_end(tmp_path, capsys) -> None:
    made: list[int] = []
    open_gate = threading.Event()

    def make(k: int) -> bytes:
        assert open_gate.wait(PATIENCE)
        made.append(k)
        if k == 2:
            raise RuntimeError("no codec")
        return bytes([k])

    with pytest.raises(KeyboardInterrupt), files.Background() as background:
        for k in range(files.Background.MAX_WAITING):
            background.write(tmp_path / str(k), partial(make, k))
        assert not made  # whoever asks does not wait
        threading.Timer(0.05, open_gate.set).start()
        background.write(tmp_path / "last", partial(make, 9))
        assert made  # unless many others wait
        background.wait()
        assert (tmp_path / "last").read_bytes() == b"\x09"
        background.write(tmp_path / "more", partial(make, 10))
        raise KeyboardInterrupt
    assert made == [0, 1, 2, 3, 9, 10]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "3", "last", "more"]
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"{tmp_path / '2'} could not be made" in said


def test_only_files_are_replaced_and_links_are_followed(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(UserError, match=f"{name} is no file but a folder, a device or a pipe"):
            files.write_atomic(tmp_path / name, b"new")
    with pytest.raises(UserError, match="/dev/null is no file"):
        files.write_atomic(Path("/dev/null"), b"new")
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "file")
    files.write_atomic(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "folder" / "file").read_bytes() == b"new"


def test_a_folder_is_the_old_or_the_new_one(tmp_path) -> None:
    folder = tmp_path / "made"
    for text in ("old", "new"):
        with files.whole_folder(folder) as unfinished:
            (unfinished / text).write_text(text)
            assert folder.exists() == (text == "new")
        assert [path.name for path in folder.iterdir()] == [text]
    with pytest.raises(KeyboardInterrupt), files.whole_folder(folder) as unfinished:
        (unfinished / "half").touch()
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "new"]


def test_what_the_dead_have_left_is_swept_and_what_the_living_make_is_not(tmp_path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / f".a.{dead.pid}.unfinished").touch()
    (tmp_path / f".b.{dead.pid}.unfinished" / "c").mkdir(parents=True)
    kept = [f".a.{os.getpid()}.unfinished", ".mine.unfinished", f"a.{dead.pid}.unfinished"]
    for name in kept:
        (tmp_path / name).touch()
    files.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
