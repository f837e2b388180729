"""The way that a newcomer goes: from a prompt to a mesh in a browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import gradio as gr
import pytest

from bridge_nerf.app.tabs.gallery_3d import FRONT
from tests.app.test_meshes import look_from_two_sides
from tests.browsers import SLOW, needs_chromium
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.slow, *needs_chromium]
VALIDATOR = "gltf-validator@2.0.0-dev.3.10"
VALIDATE = """
const bytes = new Uint8Array(require("fs").readFileSync(process.argv[1]));
require("gltf-validator").validateBytes(bytes).then(report => console.log(JSON.stringify(report.issues)));
"""


def issues(mesh: Path, folder: Path) -> dict:
    """What Khronos' validator of glTF says of a file; it is installed into the folder."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("no npm and node, which run the validator of glTF")
    install = [npm, "install", "--silent", "--prefix", str(folder), VALIDATOR]
    if subprocess.run(install, timeout=PATIENCE).returncode:
        pytest.skip(f"{VALIDATOR} cannot be installed: no package index is reached")
    environment = os.environ | {"NODE_PATH": str(folder / "node_modules")}
    said = subprocess.run(
        [node, "-e", VALIDATE, str(mesh)], env=environment, capture_output=True, timeout=PATIENCE, check=True
    )
    return json.loads(said.stdout)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mesh of what `make demo` makes."""
    from tests.nerf.test_command_line import run as run_command

    folder = tmp_path_factory.mktemp("newcomer")
    code, said = run_command("ns-train bridge-distill --prompt 'a pineapple'", folder)
    assert code == 0, said
    (run,) = folder.glob("outputs/a-pineapple/bridge-distill/*")
    code, said = run_command(f"bridge-nerf export {run} --to glb", folder)
    assert code == 0 and "silhouette IoU" in said, said
    return run / "mesh.glb"


def test_the_mesh_is_valid(mesh, tmp_path):
    found = issues(mesh, tmp_path)
    assert found["numErrors"] == found["numWarnings"] == 0, found["messages"]


def test_the_mesh_is_seen_from_two_sides_in_a_browser(mesh, chromium, request):
    with gr.Blocks() as shown:
        gr.Model3D(str(mesh), camera_position=FRONT, interactive=False, height=400)
    _, address, _ = shown.launch(prevent_thread_lock=True, quiet=True)
    page = chromium.new_page(viewport={"width": 600, "height": 700})
    page.set_default_timeout(SLOW)
    page.goto(address)
    canvas = page.locator("canvas")
    canvas.wait_for()
    look_from_two_sides(canvas, request.config.cache.mkdir("screenshots") / "newcomer.png")
    page.close()
    shown.close()
