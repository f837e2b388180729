"""The world: reproducible, captions true and closed, held-out pairs held out, flaws that change only what
they name.
"""

from collections import Counter

import numpy as np
import pytest
import torch

from bridge_nerf.photometry import luma, saturation
from bridge_nerf.toybox.captions import EMPTY_SHARE, caption
from bridge_nerf.toybox.dataset import Shard, make_shard
from bridge_nerf.toybox.flaws import FILTERS, corrupt
from bridge_nerf.toybox.objects import build, extent
from bridge_nerf.toybox.render import View, over, render
from bridge_nerf.toybox.words import COLOURS, FLAWS, HELD_OUT, OBJECTS, vocabulary


@pytest.fixture(scope="module")
def shard() -> Shard:
    return make_shard(11, 60, size=32, workers=1)


def image(toy: str = "pineapple", size: int = 64) -> torch.Tensor:
    parts = build(toy, COLOURS["red"], np.random.default_rng(1))
    return over(render(parts, View(20, 15), size), torch.full((3, 1, 1), 0.6))


def test_a_shard_is_a_function_of_its_seed(shard):
    again = make_shard(11, 60, size=32, workers=1)
    assert torch.equal(shard.images, again.images) and shard.scenes == again.scenes
    assert not torch.equal(shard.images, make_shard(12, 60, size=32, workers=1).images)


def test_a_shard_survives_its_file(shard, tmp_path):
    shard.save(tmp_path / "shard.npz")
    loaded = Shard.load(tmp_path / "shard.npz")
    assert torch.equal(loaded.images, shard.images) and loaded.scenes == shard.scenes


@pytest.mark.parametrize("toy", OBJECTS)
def test_every_toy_fills_the_unit_ball_and_not_more(toy):
    for seed in range(4):
        radius = np.linalg.norm(
            extent(build(toy, COLOURS["blue"], np.random.default_rng(seed))), axis=1
        ).max()
        assert 0.85 < radius < 1.0


@pytest.mark.parametrize("toy", OBJECTS)
def test_every_toy_is_seen_whole_from_everywhere(toy):
    parts = build(toy, COLOURS["blue"], np.random.default_rng(0))
    for view in (View(0, 10, 3.1), View(90, -10, 3.1), View(180, 45), View(0, 80)):
        alpha = render(parts, view, 32)[3]
        border = torch.cat([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
        assert border.max() == 0 and 0.02 < alpha.mean() < 0.8


@pytest.mark.parametrize(
    "azimuth, elevation, word",
    [
        (0, 10, "front view"),
        (-45, 0, "front view"),
        (46, 0, "side view"),
        (180, 20, "back view"),
        (-135, 0, "back view"),
        (350, 0, "front view"),
        (10, 60, "overhead view"),
    ],
)
def test_view_words(azimuth, elevation, word):
    assert View(azimuth, elevation).word == word


def test_front_is_plus_x():
    """A snowman's carrot is seen from the front and hidden from the back."""
    parts = build("snowman", (1, 1, 1), np.random.default_rng(0))

    def orange(azimuth: float) -> int:
        rgba = render(parts, View(azimuth, 0), 128)
        return int(((rgba[0] - rgba[2] > 0.3) & (rgba[1] - rgba[2] > 0.1)).sum())

    assert orange(0) > 4 and orange(180) == 0


def test_captions_are_true_and_use_known_words_only(shard):
    known = {word for entries in vocabulary().values() for entry in entries for word in entry.split()}
    r = np.random.default_rng(0)
    for scene in shard.scenes:
        text = caption(scene, r)
        assert set(text.replace(",", "").split()) <= known
        named = {flaw for flaw in FLAWS if flaw in text.split(", ")}
        assert named <= scene.flaws
        if text:
            assert scene.toy in text
        if any(quality in text for quality in ("sharp", "detailed")):
            assert not scene.flaws


def test_about_a_tenth_of_captions_is_empty(shard):
    r = np.random.default_rng(0)
    empty = sum(caption(shard.scenes[k % len(shard)], r) == "" for k in range(3000)) / 3000
    assert empty == pytest.approx(EMPTY_SHARE, abs=0.02)


def test_toys_without_a_flaw_come_loose_where_that_is_asked_for():
    loose = make_shard(5, 60, size=16, workers=1, loose=0.5)
    world = make_shard(5, 60, size=16, workers=1)

    def share_of(shard):
        return sum("bad structure" in scene.flaws for scene in shard.scenes) / len(shard)

    assert share_of(world) < 0.15 < 0.25 < share_of(loose) < 0.55


def test_held_out_pairs_are_held_out_unless_asked_for():
    assert not HELD_OUT & {(s.toy, s.colour) for s in make_shard(0, 150, size=16, workers=1).scenes}
    asked = make_shard(0, 30, size=16, workers=1, toy="car", held_out=True)
    assert set(Counter(s.colour for s in asked.scenes)) <= set(COLOURS)


def test_no_flaw_changes_nothing():
    x = image()
    assert torch.equal(corrupt(x, frozenset(), 1.0, np.random.default_rng(0)), x)


def test_unknown_flaws_are_refused():
    with pytest.raises(KeyError, match="rusty"):
        corrupt(image(), frozenset({"rusty"}), 1.0, np.random.default_rng(0))


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("strength", [0.0, 1.0])
@pytest.mark.parametrize("size", [64, 128])
def test_every_flaw_gives_a_image_and_shows(name, strength, size):
    x = image(size=size)
    y = corrupt(x, frozenset({name}), strength, np.random.default_rng(0))
    assert y.shape == x.shape and y.min() >= 0 and y.max() <= 1
    assert (y - x).abs().mean() > 2e-3


def test_oversaturation_keeps_the_luma():
    x = image("car")
    y = FILTERS["oversaturated"](x, 1.0, np.random.default_rng(0))
    assert torch.allclose(luma(y), luma(x), atol=2e-3)
    assert saturation(y).mean() > 1.05 * saturation(x).mean()


def test_blur_smooth_and_pixels_lose_detail_and_noise_adds_it():
    x = image()

    def detail(y: torch.Tensor) -> float:
        return float((y[:, 1:] - y[:, :-1]).square().mean())

    for name in ("blurry", "smooth"):
        assert detail(FILTERS[name](x, 0.5, np.random.default_rng(0))) < 0.7 * detail(x)
    assert detail(FILTERS["noisy"](x, 0.5, np.random.default_rng(0))) > detail(x)
    blocks = FILTERS["pixelated"](x, 0.0, np.random.default_rng(0)).unfold(1, 4, 4).unfold(2, 4, 4)
    assert blocks.flatten(3).std(-1).max() < 1e-6


def test_fog_and_haze_lower_contrast():
    x = image("penguin")
    for name in ("foggy", "hazy"):
        assert FILTERS[name](x, 0.5, np.random.default_rng(0)).std() < 0.8 * x.std()
