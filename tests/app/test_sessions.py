"""Rooms of visitors: apart from each other, cleared in the end."""

from __future__ import annotations

from bridge_nerf.app.sessions import Visitors


def test_rooms_are_apart_and_a_strange_name_leads_nowhere_else(tmp_path):
    visitors = Visitors(tmp_path / "rooms")
    names = ("a", "b", "../../evil", None)
    folders = {visitors.room(name, tab).folder for name in names for tab in ("image", "paint")}
    assert len(folders) == 8 and all(folder.parent == tmp_path / "rooms" for folder in folders)
    assert visitors.room("a", "image") is visitors.room("a", "image")


def test_a_new_run_clears_the_files_of_the_last(tmp_path):
    room = Visitors(tmp_path).room("a", "image")
    with room.run():
        first = room.keep(b"1", "png")
    assert first.exists()
    with room.run():
        assert not first.exists() and room.keep(b"2", "png") != first


def test_who_leaves_ends_the_run_and_takes_the_files_along(tmp_path):
    visitors = Visitors(tmp_path)
    room = visitors.room("a", "image")
    with room.run():
        kept = room.keep(b"1", "png")
        visitors.leave("a")
        assert room.stop.is_set() and kept.exists()  # whoever still writes needs the folder
    assert not room.folder.exists()
    assert not visitors.stop("a", "image")


def test_who_leaves_before_the_run_begins_stops_it_all_the_same(tmp_path):
    visitors = Visitors(tmp_path)
    room = visitors.room("a", "image")
    visitors.leave("a")
    with room.run():
        assert room.stop.is_set()
    assert not room.folder.exists()


def test_stop_reaches_a_run_under_way_only(tmp_path):
    visitors = Visitors(tmp_path)
    room = visitors.room("a", "image")
    assert not visitors.stop("a", "image")
    with room.run():
        assert visitors.stop("a", "image") and room.stop.is_set()
        assert not visitors.stop("b", "image")


def test_idle_rooms_are_swept_and_busy_ones_are_not(tmp_path):
    visitors = Visitors(tmp_path)
    idle, busy = visitors.room("a", "image"), visitors.room("b", "image")
    with busy.run():
        visitors.sweep(idle=-1)
        assert not idle.folder.exists() and busy.folder.exists()
