"""A real viewer in a real browser."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

import pytest

from bridge_nerf.nerf.engine.trainer import BridgeTrainer, BridgeTrainerConfig
from tests.browsers import CHROMIUM, SLOW, needs_chromium
from tests.nerf.stub import StubPrior
from tests.waiting import PATIENCE

pytestmark = needs_chromium


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


def test_the_prompt_is_changed_in_the_viewer(trainer: BridgeTrainer) -> None:
    from playwright.sync_api import Locator, Page, expect, sync_playwright

    port = trainer.viewer_state.viser_server.get_port()  # type: ignore[union-attr]

    def box(page: Page, label: str) -> Locator:
        return page.locator(f"//label[text()='{label}']/following::input[1]")

    flags = ["--use-gl=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=flags) as browser,
    ):
        page = browser.new_page()
        page.set_default_timeout(SLOW)
        expect.set_options(timeout=SLOW)
        page.goto(f"http://127.0.0.1:{port}")
        apply = page.get_by_role("button", name="Apply")
        expect(apply).to_be_visible()
        box(page, "Prompt").fill("a xylophone")
        apply.click()
        expect(box(page, "Message")).to_have_value(re.compile("unknown word"))
        assert trainer.config.pipeline.model.prompt == "a pineapple"
        box(page, "Prompt").fill("a ball")
        apply.click()
        expect(box(page, "Message")).to_have_value(re.compile("applied at step"))
    assert trainer.config.pipeline.model.prompt == "a ball"
    assert trainer.training_state == "training"
