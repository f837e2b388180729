"""Sessions: apart from each other, removed in the end."""

from __future__ import annotations

from bridge_nerf.app.sessions import Sessions


def test_sessions_are_apart_and_a_strange_name_leads_nowhere_else(tmp_path):
    sessions = Sessions(tmp_path / "sessions")
    names = ("a", "b", "../../evil", None)
    folders = {sessions.get(name, tab).folder for name in names for tab in ("image", "paint")}
    assert len(folders) == 8 and all(folder.parent == tmp_path / "sessions" for folder in folders)
    assert sessions.get("a", "image") is sessions.get("a", "image")


def test_a_new_run_clears_the_files_of_the_last(tmp_path):
    session = Sessions(tmp_path).get("a", "image")
    with session.run():
        first = session.new_file(b"1", "png")
    assert first.exists()
    with session.run():
        assert not first.exists() and session.new_file(b"2", "png") != first


def test_closing_ends_the_run_and_removes_the_files(tmp_path):
    sessions = Sessions(tmp_path)
    session = sessions.get("a", "image")
    with session.run():
        kept = session.new_file(b"1", "png")
        sessions.close("a")
        assert session.stop.is_set() and kept.exists()  # whoever still writes needs the folder
    assert not session.folder.exists()
    assert not sessions.stop("a", "image")


def test_closing_before_the_run_begins_stops_it_all_the_same(tmp_path):
    sessions = Sessions(tmp_path)
    session = sessions.get("a", "image")
    sessions.close("a")
    with session.run():
        assert session.stop.is_set()
    assert not session.folder.exists()


def test_stop_reaches_a_run_under_way_only(tmp_path):
    sessions = Sessions(tmp_path)
    session = sessions.get("a", "image")
    assert not sessions.stop("a", "image")
    with session.run():
        assert sessions.stop("a", "image") and session.stop.is_set()
        assert not sessions.stop("b", "image")


def test_idle_sessions_are_closed_and_busy_ones_are_not(tmp_path):
    sessions = Sessions(tmp_path)
    idle, busy = sessions.get("a", "image"), sessions.get("b", "image")
    with busy.run():
        sessions.close_idle(timeout=-1)
        assert not idle.folder.exists() and busy.folder.exists()
