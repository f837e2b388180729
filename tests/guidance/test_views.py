"""Words of the views."""

import pytest

from bridge_nerf.errors import UserError
from bridge_nerf.guidance.views import ViewConfig
from bridge_nerf.toybox.render import View
from bridge_nerf.wording import join_prompt


def test_views_are_those_of_the_toybox() -> None:
    config = ViewConfig()
    for azimuth in (-179.0, -135.5, -135.0, -90.0, -45.5, -45.0, 0.0, 44.0, 46.0, 134.0, 136.0, 200.0, 330.0):
        for elevation in (-10.0, 30.0, 59.0, 60.0, 85.0):
            assert config.words(config.view(azimuth, elevation)) == View(azimuth, elevation).word


def test_thresholds_can_be_moved() -> None:
    config = ViewConfig(front_angle=60.0, overhead_elevation=30.0)
    assert config.view(55, 0) == "front"
    assert config.view(55, 31) == "overhead"


def test_what_contradicts_a_view_is_left_out_of_the_prompt() -> None:
    config = ViewConfig(front_only=("smiling", "a big nose"))
    prompt = "a Smiling corgi with a big nose, unsmiling eyes"
    assert config.debiased(prompt, "front") == prompt
    assert config.debiased(prompt, "back") == "a corgi with, unsmiling eyes"
    assert ViewConfig().debiased(prompt, "back") == prompt


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (("a pineapple", "front view", "", "sharp"), "a pineapple, front view, sharp"),
        (("a pineapple,", "", "", " , detailed."), "a pineapple, detailed"),
        (("", ""), ""),
    ],
)
def test_only_what_is_said_is_joined(parts: tuple[str, ...], said: str) -> None:
    assert join_prompt(*parts) == said


@pytest.mark.parametrize(
    "prompt",
    [
        "a red car, front view",
        "A Side View of a car",
        "back-view of a car",
        "a car overhead view.",
        "the front view, a car",
    ],
)
def test_a_prompt_that_says_a_view_is_refused(prompt: str) -> None:
    with pytest.raises(UserError, match=r"--prompt says .*--pipeline.view.front ''"):
        ViewConfig().check_text(prompt, "--prompt")
    ViewConfig(front="", side="", back="", overhead="").check_text(prompt, "--prompt")


@pytest.mark.parametrize(
    "prompt",
    [
        "a room with a sea view",
        "a house with a front view of the sea",
        "a viewfinder",
        "an inside view of a shell",
        "a dog seen from the front",
        "a car, rear view",
    ],
)
def test_views_of_something_else_are_not(prompt: str) -> None:
    ViewConfig().check_text(prompt, "--prompt")


def test_a_view_that_is_left_out_of_the_others_may_be_said() -> None:
    ViewConfig(front_only=("front view",)).check_text("a car, front view", "--prompt")


def test_other_words_of_a_view_are_looked_for_instead() -> None:
    view = ViewConfig(back="seen from behind")
    view.check_text("a car, back view", "--prompt")
    with pytest.raises(UserError, match="seen from behind"):
        view.check_text("a car seen from behind", "--prompt")
