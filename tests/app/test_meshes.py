"""Meshes of the gallery, and how the app shows them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bridge_nerf.app.scenes import packaged_gallery, read_scenes
from tests.app.test_browser import open_tab, opened
from tests.browsers import needs_chromium
from tests.waiting import PATIENCE

SCENES = read_scenes(packaged_gallery())


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.prompt)
def test_every_mesh_of_the_gallery_stands_on_the_ground_and_has_colours(scene):
    import trimesh

    folder = packaged_gallery()
    assert folder is not None and scene.model.endswith(".glb")
    mesh = trimesh.load(folder / scene.model, force="mesh")
    (_, base, _), (_, top, _) = mesh.bounds
    assert base == pytest.approx(0, abs=1e-5) and top == pytest.approx(1, abs=1e-5)
    texture = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB"))
    assert len(mesh.visual.uv) == len(mesh.vertices) and texture.std() > 10
    assert mesh.volume > 0, "its faces look outwards"


def test_the_gallery_names_no_place_of_the_machine_it_was_made_on():
    assert len(SCENES) == 6
    for scene in SCENES:
        assert not {"/", "\\", "--vis"} & {*scene.command, *scene.command.split()}


def seen(canvas, unlike: np.ndarray | None = None) -> np.ndarray:
    """What the canvas shows, once that is an object, unlike the other picture, and rests."""
    last = None
    for _ in range(int(PATIENCE)):
        image = Image.open(io.BytesIO(canvas.screenshot())).convert("RGB")
        # Without label, buttons and the frame of what has the focus.
        now = np.asarray(image, int)[40:-8, 8:-8]
        share = object_share(now)
        # A pineapple looks nearly the same from all sides.
        other = unlike is None or (np.abs(now - unlike).max(-1) > 30).mean() > 0.03 * share
        if last is not None and np.array_equal(now, last) and share > 0.05 and other:
            return now
        last = now
        canvas.page.wait_for_timeout(500)
    raise AssertionError("the canvas shows no object, or no other side of it")


def object_share(image: np.ndarray) -> float:
    """The share of pixels unlike the background, which a corner shows."""
    return float((np.abs(image - image[-1, 0]).max(-1) > 60).mean())


def look_from_two_sides(canvas, pair: Path) -> None:
    """See the object, turn it by dragging, and see another side. Both are written to `pair`, to look at."""
    canvas.scroll_into_view_if_needed()
    front = seen(canvas)
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    canvas.page.mouse.move(x, y)
    canvas.page.mouse.down()
    canvas.page.mouse.move(x + 0.3 * box["width"], y, steps=10)
    canvas.page.mouse.up()
    side = seen(canvas, unlike=front)
    Image.fromarray(np.concatenate([front, side], 1).astype(np.uint8)).save(pair)


@needs_chromium[0]
@needs_chromium[1]
@pytest.mark.parametrize("width", [1400, 390])
def test_a_mesh_of_the_gallery_is_opened_turned_and_downloaded(chromium, served, request, width):
    page = opened(chromium, served, [], width)
    open_tab(page, "3D")
    page.locator("text=ns-train").first.wait_for()
    assert page.locator("canvas").count() == 0, "nothing is drawn before it is asked for"
    names = [scene.prompt for scene in SCENES]
    page.get_by_role("tab", name="Mesh", exact=True).nth(names.index("a penguin")).click()
    canvas = page.locator("canvas")
    canvas.wait_for()
    folder = request.config.cache.mkdir("screenshots")
    look_from_two_sides(canvas, folder / f"mesh-{width}.png")
    page.screenshot(path=folder / f"mesh-page-{width}.png")
    with page.expect_download() as download:
        page.get_by_test_id("model3d-download-link").click()
    assert download.value.suggested_filename == "a-penguin.glb"
    assert Path(download.value.path()).read_bytes()[:4] == b"glTF"
    page.close()
