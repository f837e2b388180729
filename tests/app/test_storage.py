"""The app's folder: it goes, however the app ends; and what visitors may leave in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile

import pytest

from bridge_nerf.app.sessions import Sessions
from bridge_nerf.app.storage import PREFIX, Uploads, own_folder
from bridge_nerf.errors import UserError

APP = """
import sys
from bridge_nerf.app.storage import own_folder
with own_folder() as folder:
    (folder / "painting.png").write_bytes(b"mine")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_the_folder_of_a_killed_app_is_swept_by_the_next_and_that_of_a_living_one_is_not(temporary):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", APP], **pipes) as killed:
        assert killed.stdout is not None and PREFIX in killed.stdout.readline()
        killed.send_signal(signal.SIGKILL)
    with subprocess.Popen([sys.executable, "-c", APP], **pipes) as living:
        assert living.stdout is not None and living.stdin is not None
        first = living.stdout.readline().strip()
        assert [str(path) for path in temporary.iterdir()] == [first]
        with own_folder() as second:
            assert {str(path) for path in temporary.iterdir()} == {first, str(second)}
            assert second.stat().st_mode & 0o077 == 0
        assert os.path.exists(f"{first}/painting.png")
        living.stdin.close()
    assert not list(temporary.iterdir())


def test_what_is_not_an_apps_folder_stays(temporary):
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a").write_text("a")
    (temporary / f"{PREFIX}link").symlink_to(elsewhere)
    (temporary / f"{PREFIX}file").write_text("a")
    (temporary / "bridge-nerf-other").mkdir()
    before = sorted(temporary.rglob("*"))
    with own_folder():
        pass
    assert sorted(temporary.rglob("*")) == before


def test_the_oldest_uploads_go_where_there_is_no_room(tmp_path):
    sessions = tmp_path / "sessions"
    uploads = Uploads(tmp_path, apart=sessions, max_bytes=1000, max_files=5)
    for name in ("of the page", "sessions/of a run"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(900))
        os.utime(path, (0, 0))
    uploads.keep_present()

    def upload(number: int, size: int) -> None:
        uploads.make_room(size)
        path = tmp_path / f"hash {number}" / "a.png"
        path.parent.mkdir()
        path.write_bytes(bytes(size))
        os.utime(path, (number, number))

    def there() -> set[int]:
        return {int(path.parent.name.split()[1]) for path in tmp_path.glob("hash */*")}

    for number in range(1, 4):
        upload(number, 300)
    assert there() == {1, 2, 3}
    upload(4, 300)
    assert there() == {2, 3, 4}
    for number in range(5, 20):
        upload(number, 10)
    assert there() == {15, 16, 17, 18, 19}
    upload(20, 1000)
    assert there() == {20}
    assert (tmp_path / "of the page").exists() and (sessions / "of a run").exists()


def test_the_end_waits_for_runs_and_lets_none_begin(tmp_path):
    sessions = Sessions(tmp_path / "sessions")
    session = sessions.get("a", "image")
    with session.run():
        sessions.end(timeout=0.0)
        assert session.stop.is_set()
    sessions.end()
    assert not list((tmp_path / "sessions").iterdir())
    with pytest.raises(UserError, match="about to end"):
        sessions.get("a", "image")
