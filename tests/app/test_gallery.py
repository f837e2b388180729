"""The gallery of scenes, made from runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bridge_nerf.app.gallery import MAX_BYTES, make
from bridge_nerf.app.scenes import read_scenes
from bridge_nerf.errors import UserError
from bridge_nerf.pixels import video
from bridge_nerf.toybox.paintings import PAINTINGS
from bridge_nerf.toybox.paintings import make as paint


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    frames = np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), dtype=np.uint8)
    (folder / "turntable.mp4").write_bytes(video(frames))
    (folder / "commands.txt").write_text(
        'view ns-viewer --load-config x\nresume ns-train bridge-distill --prompt "a duck" '
        "--pipeline.prior /home/me/mine --output-dir /home/me/outputs --vis tensorboard "
        "--load-dir /a/b --load-step 7\n"
    )
    return folder


def test_a_scene_has_a_video_a_poster_and_its_command(run, tmp_path):
    make((run, run), tmp_path / "scenes")
    one, other = read_scenes(tmp_path / "scenes")
    assert one.prompt == "a duck" and one.video != other.video
    assert one.command == "ns-train bridge-distill --prompt 'a duck' --pipeline.prior ./mine"
    for name in (one.video, one.poster):
        assert 0 < (tmp_path / "scenes" / name).stat().st_size <= MAX_BYTES
    assert read_scenes(tmp_path / "nowhere") == []


def test_the_tab_shows_videos_meshes_and_commands(run, tmp_path):
    import gradio as gr

    from bridge_nerf.app.tabs import gallery_3d

    (run / "mesh.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    make((run,), tmp_path / "scenes")
    with gr.Blocks() as page:
        gallery_3d.build(tmp_path / "scenes")
    shown = [type(block) for block in page.blocks.values()]
    assert shown.count(gr.Video) == shown.count(gr.Model3D) == shown.count(gr.Code) == 1


def test_unfinished_runs_are_named(run, tmp_path):
    (run / "turntable.mp4").unlink()
    with pytest.raises(UserError, match="not finished"):
        make((run,), tmp_path / "scenes")
    with pytest.raises(UserError, match="is not a run"):
        make((tmp_path,), tmp_path / "scenes")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("commands.txt", b"resume ns-train bridge-distill --prompt 'a duck", "no command"),
        ("commands.txt", b"resume ns-train bridge-distill --prompt", "without a prompt"),
        ("commands.txt", b"resume ns-train bridge-distill", "without a prompt"),
        ("commands.txt", b"view ns-viewer", "no line"),
        ("commands.txt", b"\xff\xfe", "UTF-16"),
        ("commands.txt", b"\xff", "UTF-8"),
        ("turntable.mp4", b"", "no film"),
        ("turntable.mp4", b"no film at all", "no film"),
        ("turntable.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n", "no film"),
        ("turntable.mp4", None, "is a folder"),
        ("commands.txt", None, "is a folder"),
        ("mesh.obj", b"v" * (MAX_BYTES + 1), "at most 300_000"),
        ("mesh.glb", None, "is a folder"),
    ],
)
def test_what_a_run_holds_is_not_believed_and_the_old_gallery_stays(run, tmp_path, name, content, said):
    out = tmp_path / "scenes"
    make((run,), out)
    before = {path: path.read_bytes() for path in out.iterdir()}
    (run / name).unlink(missing_ok=True)
    (run / name).mkdir() if content is None else (run / name).write_bytes(content)
    with pytest.raises(UserError, match=said) as refused:
        make((run,), out)
    assert "\n" not in str(refused.value) and name in str(refused.value)
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_films_without_end_are_refused_before_they_fill_the_memory(run, tmp_path, monkeypatch):
    monkeypatch.setattr("bridge_nerf.app.gallery.MAX_FRAMES_BYTES", 3 * 3 * 64 * 64)
    with pytest.raises(UserError, match="too long or too large"):
        make((run,), tmp_path / "scenes")


def test_a_folder_that_is_no_gallery_is_not_replaced(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    for out in (tmp_path / "mine", tmp_path / "mine" / "thesis.txt"):
        with pytest.raises(UserError, match="not a gallery"):
            make((run,), out)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all of it"


@pytest.mark.parametrize(
    "change",
    [
        *(
            {"video": name}
            for name in ("../a.mp4", "/etc/passwd", "..", "", ".", "a/b.mp4", "a\\b", "a\0b", 7)
        ),
        *({"poster": "../../app.py"}, {"model": "/etc/passwd"}, {"model": None}, {"prompt": 3}),
        *({"further": 1}, {"video": "gone.mp4"}, {"video": "a" * 10_000}, {"poster": "a\nb"}),
    ],
)
def test_what_a_gallery_says_is_not_believed(run, tmp_path, change):
    make((run,), tmp_path / "scenes")
    manifest = tmp_path / "scenes" / "scenes.json"
    (entry,) = json.loads(manifest.read_text())
    manifest.write_text(json.dumps([entry | change]))
    with pytest.raises(UserError, match="scenes.json.*make the gallery anew") as refused:
        read_scenes(tmp_path / "scenes")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "null", "[" * 100_000, "[{}]", "\0"])
def test_a_manifest_that_is_none_is_one_line(tmp_path, text):
    (tmp_path / "scenes.json").write_text(text)
    with pytest.raises(UserError, match="scenes.json"):
        read_scenes(tmp_path)


def test_the_example_paintings_are_those_of_their_command(tmp_path):
    from bridge_nerf.paths import asset

    paint(tmp_path)
    for name in PAINTINGS:
        from PIL import Image

        one, other = (np.asarray(Image.open(p / f"{name}.png"), int) for p in (tmp_path, asset("paintings")))
        assert np.abs(one - other).max() <= 2
