"""A real viewer in a real browser."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import pytest
import tyro

from bridge_nerf.nerf.engine.trainer import BridgeTrainer, BridgeTrainerConfig
from tests.browsers import CHROMIUM, SLOW, WEBGL, needs_chromium
from tests.nerf.stub import StubPrior
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = needs_chromium
PICTURES = ["render", "pull", "target", "source"]


@pytest.fixture
def trainer(config: BridgeTrainerConfig, prior: StubPrior) -> Iterator[BridgeTrainer]:
    """Training in a thread, with the viewer on."""
    config.timestamp, config.vis, config.max_num_iterations = "run", "viewer", 1_000_000
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    thread = threading.Thread(target=trainer.train, daemon=True)
    thread.start()
    yield trainer
    trainer.shutdown()
    thread.join(PATIENCE)


@contextmanager
def visited(viewer: Any) -> Iterator[Page]:
    """A page of the viewer."""
    from playwright.sync_api import expect, sync_playwright

    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=WEBGL) as browser,
    ):
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(SLOW)
        expect.set_options(timeout=SLOW)
        page.goto(f"http://127.0.0.1:{viewer.viser_server.get_port()}")
        expect(button(page, "Apply")).to_be_visible()
        yield page


def box(page: Page, label: str, number: int = 1) -> Locator:
    return page.locator(f"//label[text()='{label}']/following::input[{number}]")


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def says(page: Page, text: str) -> None:
    from playwright.sync_api import expect

    expect(page.get_by_text(re.compile(text)).last).to_be_visible()


def test_the_prompt_is_changed_in_the_viewer(trainer: BridgeTrainer) -> None:
    with visited(trainer.viewer_state) as page:
        box(page, "Prompt").fill("a {xylophone} <b>")
        button(page, "Apply").click()
        says(page, 'unchanged: unknown word "xylophone"')
        assert trainer.config.pipeline.model.prompt == "a pineapple"
        box(page, "Prompt").fill("a ball")
        button(page, "Apply").click()
        says(page, "applied at step")
        assert trainer.config.pipeline.model.prompt == "a ball"
        assert trainer.training_state == "training"
        button(page, "Pause Training").click()
        button(page, "Apply").click()
        says(page, "applied when training goes on")


def test_a_view_is_inspected_while_training_goes_on_and_while_it_is_paused(trainer: BridgeTrainer) -> None:
    from playwright.sync_api import expect

    with visited(trainer.viewer_state) as page:
        button(page, "Inspect").click()
        pictures = page.locator("img[src^='data:image/png']")
        expect(pictures).to_have_count(4)
        assert [picture.get_attribute("alt") for picture in pictures.all()] == PICTURES
        width = "image => image.complete && image.naturalWidth"
        assert all(picture.evaluate(width) >= 256 for picture in pictures.all())
        says(page, r"target a pineapple, front view, \w+ background, detailed")
        says(page, r"azimuth 0 and elevation 15 degrees")
        assert trainer.training_state == "training"
        button(page, "Pause Training").click()
        box(page, "t (% of T)", 2).fill("80")
        box(page, "t (% of T)", 2).press("Enter")
        button(page, "Inspect").click()
        says(page, "t = 0.8 T")


def test_outputs_are_switched(trainer: BridgeTrainer) -> None:
    from playwright.sync_api import expect

    with visited(trainer.viewer_state) as page:
        chosen = box(page, "Output type")
        expect(chosen).to_have_value("rgb")
        button(page, "Pause Training").click()
        chosen.click()
        names = page.get_by_role("option").all_inner_texts()
        assert names[0] == "rgb" and {"accumulation", "depth"} < set(names)
        page.keyboard.press("Escape")
        seen = [picture(page, [])]
        for name in names[1:]:
            chosen.click()
            page.get_by_role("option", name=name, exact=True).click()
            expect(chosen).to_have_value(name)
            seen.append(picture(page, seen))


def picture(page: Page, others: list[bytes]) -> bytes:
    """What is shown of the object, once it is none of the others and rests."""
    end, last = time.monotonic() + PATIENCE, b""
    while time.monotonic() < end:
        now = page.screenshot(clip={"x": 200, "y": 250, "width": 700, "height": 450})
        if now == last and now not in others:
            return now
        last = now
        time.sleep(0.5)
    raise AssertionError("the picture did not change")


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ns-render writes films with ffmpeg")
def test_a_camera_path_of_two_keyframes_becomes_a_film(
    trainer: BridgeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nerfstudio.scripts.render import Commands
    from playwright.sync_api import expect

    with visited(trainer.viewer_state) as page:
        page.get_by_role("tab", name="Render").click()
        for label, number, value in (("Resolution", 1, "64"), ("Resolution", 2, "50"), ("FPS", 1, "4")):
            box(page, label, number).fill(value)
            box(page, label, number).press("Enter")
        button(page, "Add Keyframe").click()
        page.mouse.move(500, 450)
        page.mouse.down()
        page.mouse.move(700, 430, steps=5)
        page.mouse.up()
        button(page, "Add Keyframe").click()
        expect(box(page, "Duration (sec)")).to_have_value("2")
        button(page, "Preview Render").click()
        button(page, "Play").click()
        expect(box(page, "Preview frame")).to_have_value(re.compile("[1-9]"))
        button(page, "Pause").click()
        button(page, "Exit Render Preview").click()
        button(page, "Generate Command").click()
        command = shlex.split(page.locator("pre").inner_text())
    path = json.loads(Path(command[command.index("--camera-path-filename") + 1]).read_text())
    first, *_, last = [frame["camera_to_world"] for frame in path["camera_path"]]
    assert len(path["camera_path"]) == 8 and first != last
    assert command[0] == "ns-render"
    monkeypatch.chdir(tmp_path)
    tyro.cli(tyro.conf.FlagConversionOff[Commands], args=command[1:]).main()
    with av.open(str(tmp_path / command[command.index("--output-path") + 1])) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) == 8 and frames[0].shape == (50, 64, 3)
    assert frames[0].std() > 1, "there is something to see"


def test_a_finished_run_says_how_it_is_gone_on_with(
    config: BridgeTrainerConfig, trained: Callable[[BridgeTrainerConfig, str], BridgeTrainer]
) -> None:
    from nerfstudio.utils.eval_utils import eval_setup
    from nerfstudio.viewer.viewer import Viewer

    folder = trained(config, "run").base_dir
    config, pipeline, _, step = eval_setup(folder / "config.yml", test_mode="test")  # as ns-viewer does
    viewer = Viewer(
        config.viewer,
        folder / "log",
        pipeline.datamanager.get_datapath(),
        pipeline,
        train_lock=threading.Lock(),
    )
    dataset = pipeline.datamanager.train_dataset
    viewer.init_scene(dataset, "completed", dataset)
    viewer.update_scene(step)
    resume = next(
        line.removeprefix("resume").strip()
        for line in (folder / "commands.txt").read_text().splitlines()
        if line.startswith("resume")
    )
    with visited(viewer) as page:
        button(page, "Apply").click()
        says(page, "not applied: nothing trains here")
        assert page.locator("code").inner_text() == resume
        button(page, "Inspect").click()
        says(page, "no prior is loaded to inspect this with")
        assert page.locator("code").last.inner_text() == f"{resume} --start-paused True"
        picture(page, [])
    for thread in list(viewer.render_statemachines.values()):
        thread.running = False
        thread.join(PATIENCE)
    viewer.viser_server.stop()
