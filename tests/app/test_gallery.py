"""The gallery of scenes, made from runs."""

from __future__ import annotations

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
        "--pipeline.prior /home/me/mine --output-dir /home/me/outputs --load-dir /a/b --load-step 7\n"
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


def test_the_example_paintings_are_those_of_their_command(tmp_path):
    from bridge_nerf.paths import asset

    paint(tmp_path)
    for name in PAINTINGS:
        from PIL import Image

        one, other = (np.asarray(Image.open(p / f"{name}.png"), int) for p in (tmp_path, asset("paintings")))
        assert np.abs(one - other).max() <= 2
