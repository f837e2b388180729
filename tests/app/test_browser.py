"""The app as a visitor sees it: a real Chromium, on a desk and on a phone."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

import pytest

from bridge_nerf.paths import asset
from tests.browsers import SLOW, needs_chromium
from tests.waiting import PATIENCE

pytestmark = needs_chromium
TABS = {
    "Text to image": "#image-run",
    "Painting to real": "#paint-run",
    "Compare": "#compare-run",
    "How it works": "#plane-drawing",
    "3D": "text=ns-train",
}
"""Title of a tab -> something in it."""


def opened(chromium, served: str, complaints: list[str], width: int = 1280):
    """The page at a width, ready to be used; what it complains of in its console is noted."""
    page = chromium.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(SLOW)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.goto(served)
    page.locator("#image-run").wait_for()
    return page


@pytest.fixture(params=[1280, 390])
def page(chromium, served, request) -> Iterator:
    """The page at a width; nothing may complain in its console."""
    complaints: list[str] = []
    page = opened(chromium, served, complaints, request.param)
    yield page
    # To look at: .pytest_cache/d/screenshots
    folder = request.config.cache.mkdir("screenshots")
    page.screenshot(path=folder / f"{request.node.name}.png", full_page=True)
    page.close()
    assert not complaints


def open_tab(page, title: str) -> None:
    """By the bar, or by the menu that holds what does not fit into it."""
    tab = page.locator(".tab-container:not(.visually-hidden) button[role=tab]", has_text=title)
    if not (tab.count() and tab.first.is_visible()):
        page.locator(".overflow-menu > button").click()
        tab = page.locator(".overflow-dropdown button", has_text=title)
    tab.first.click()


def frames_of(page, image: str, least: int, ended: Callable[[], bool]) -> set[str]:
    """The addresses of the images that appear there, until there are enough or the run has ended."""
    seen: set[str] = set()
    end = time.monotonic() + PATIENCE
    while len(seen) < least and not ended() and time.monotonic() < end:
        seen |= set(page.locator(f"{image} img").evaluate_all("all => all.map(img => img.src)"))
        page.wait_for_timeout(30)
    return seen


def test_an_image_streams_and_stops(page):
    page.locator("#image-prompt textarea").fill("a green cactus")
    page.get_by_label("number input for Steps").first.fill("1000")
    page.locator("#image-run").click()
    line = page.locator("#image-line")
    frames = frames_of(page, "#image-picture", 5, lambda: "Done" in line.inner_text())
    assert len(frames) >= 5
    page.locator("#image-stop").click()
    line.get_by_text("Stopped after step").wait_for()
    assert page.locator("#image-picture img").is_visible()
    page.locator("#image-png:not([disabled])").wait_for()
    with page.expect_download() as download:
        page.locator("#image-png").click()
    assert download.value.suggested_filename.startswith("a-green-cactus")


def test_an_unknown_word_is_a_toast(page):
    page.locator("#image-prompt textarea").fill("a zeppelin")
    page.locator("#image-run").click()
    toast = page.locator(".toast-wrap")
    toast.get_by_text("zeppelin").first.wait_for()
    assert "Traceback" not in toast.inner_text()


def test_a_painting_is_uploaded_and_the_slider_dragged(page):
    open_tab(page, "Painting to real")
    page.locator("#paint-upload input[type=file]").set_input_files(str(asset("paintings") / "snowman.png"))
    page.locator("#paint-upload img").wait_for()
    page.locator("#paint-prompt textarea").fill("a snowman")
    page.locator("#paint-run").click()
    page.locator("#paint-line").get_by_text("Done").wait_for()
    slider = page.locator("#paint-slider")
    slider.scroll_into_view_if_needed()
    handle = slider.locator("[role=slider], .inner, .outer").first
    page.wait_for_function(
        "() => { const all = [...document.querySelectorAll('#paint-slider img')];"
        " return all.length > 1 && all.every(img => img.complete) }"
    )
    before, box = handle.bounding_box(), slider.bounding_box()
    page.mouse.move(before["x"] + before["width"] / 2, before["y"] + before["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.2 * box["width"], before["y"] + before["height"] / 2, steps=8)
    page.mouse.up()
    moved = "([handle, x]) => handle.getBoundingClientRect().x < x"
    page.wait_for_function(moved, arg=[handle.element_handle(), before["x"] - 20])


def test_a_click_on_an_example_makes_it(page):
    page.get_by_text("a pineapple: sds, seed 1").first.click()
    page.locator("#image-line").get_by_text("Done").wait_for()
    page.locator(".cm-content", has_text="--prompt 'a pineapple'").first.wait_for()


def test_every_tab_opens_and_nothing_is_wider_than_the_page(page):
    for title, something in TABS.items():
        open_tab(page, title)
        page.locator(something).first.wait_for()
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, title


def test_a_comparison_draws_its_charts(page):
    open_tab(page, "Compare")
    page.locator("#compare-run").wait_for()
    page.get_by_label("number input for Steps").locator("visible=true").fill("10")
    page.locator("#compare-run").click()
    page.locator("#compare-line").get_by_text("Done").wait_for()
    for name in ("saturation", "pull"):
        page.locator(f"#compare-{name} svg.marks").get_by_text("bridge").wait_for()


def test_the_plane_follows_its_sliders(page):
    open_tab(page, "How it works")
    drawing = page.locator("#plane-drawing svg")
    drawing.wait_for()
    before = drawing.inner_html()
    page.locator("#plane-level input[type=number]").fill("0.3")
    page.locator("#plane-level input[type=number]").press("Enter")
    page.wait_for_function(
        "before => document.querySelector('#plane-drawing svg').innerHTML != before", arg=before
    )


def test_a_closed_tab_ends_its_run(chromium, served):
    """Somebody else's run comes next; had the first one been made to its end, it would be there at once."""

    def ask(steps: int, until: str) -> str:
        page = opened(chromium, served, [])
        page.get_by_label("number input for Steps").first.fill(str(steps))
        page.get_by_label("Seed").first.fill("77")
        page.locator("#image-run").click()
        line = page.locator("#image-line").get_by_text(re.compile(until))
        line.wait_for()
        said = line.inner_text()
        page.close()
        return said

    assert ask(1000, "Step .* left").startswith("Step")
    assert ask(10, "Done").startswith("Done: 10 steps")
    assert ask(1000, "Step .* left|Done").startswith("Step")
