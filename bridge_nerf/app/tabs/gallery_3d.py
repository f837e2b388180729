"""3D: finished scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from bridge_nerf.app.scenes import Scene, packaged_gallery, read_scenes
from bridge_nerf.app.tabs.common import command_box
from bridge_nerf.extras import install

EMPTY = """
No scenes have been put into this gallery yet. It is made from finished runs, with the package's `nerf` extra:

    ns-train bridge-distill --prompt "a pineapple"
    python -m bridge_nerf.app.gallery outputs/*/bridge-distill*/*
"""
TEXT = f"""
Text to 3D takes minutes to hours, so these scenes were made beforehand, by the command under each of them.
They need the `nerf` extra, which is installed in the repository's folder by `{install("nerf")}`;
a live viewer runs while one trains.
"""

FRONT = (90, 80, None)
"""Azimuth and inclination in degrees of the camera that first looks at a mesh, which looks towards +z. From
where all of it is seen, the viewer knows itself.
"""


def build(folder: Path | None = None) -> None:
    """Lay out the tab. `folder` is a gallery; by default the one that comes with the package."""
    folder = folder or packaged_gallery()
    scenes = read_scenes(folder)
    gr.Markdown(TEXT if scenes else EMPTY)
    with gr.Row(elem_classes="scenes"):
        for scene in scenes:
            assert folder is not None
            with gr.Column(min_width=260):
                _show(scene, folder)

    def scenes_of_the_gallery() -> list[dict[str, Any]]:
        """The finished 3D scenes of the gallery.

        Returns:
            Prompt and command of each.
        """
        return [{"prompt": scene.prompt, "command": scene.command} for scene in scenes]

    gr.api(scenes_of_the_gallery, api_name="scenes", queue=False)


def _show(scene: Scene, folder: Path) -> None:
    small: dict[str, Any] = {"interactive": False, "height": 260}
    with gr.Tab("Turntable"):
        gr.Video(str(folder / scene.video), label=scene.prompt, autoplay=True, loop=True, **small)
    # A tab's content comes when it is opened: of six canvases, a phone draws those alone that are asked for.
    if scene.model:
        with gr.Tab("Mesh"):
            gr.Model3D(str(folder / scene.model), label=scene.prompt, camera_position=FRONT, **small)
    command_box("Made by", scene.command)
