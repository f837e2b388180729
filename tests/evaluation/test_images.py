"""The image tables: measures against references, rows of images that are right or wrong on purpose."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from bridge_nerf.evaluation.figures import features
from bridge_nerf.evaluation.illusions import illusion_rows
from bridge_nerf.evaluation.objectives import prompted, row, subjects_of
from bridge_nerf.evaluation.paintings import FILTERS, LAYOUT, layout_kept, painting_rows, paintings
from bridge_nerf.evaluation.samples import Samples, TableOptions
from bridge_nerf.evaluation.table import bars, text_table, write_table
from bridge_nerf.paths import asset
from bridge_nerf.photometry import gaussian, luma
from bridge_nerf.toybox.dataset import make_shard, random_scenes
from bridge_nerf.toybox.judge import Judge
from tests.images.conftest import SPEC
from tests.nerf.stub import SIZE, StubPrior


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load(asset("toybox/judge"))


def test_the_layout_is_structural_similarity_as_published():
    r = torch.Generator().manual_seed(0)
    one = torch.rand(1, 3, 64, 64, generator=r)
    other = (one + 0.3 * torch.randn(one.shape, generator=r)).clamp(0, 1)
    x, y = (gaussian(luma(image[0]), LAYOUT)[0].double().numpy() for image in (one, other))
    mean = partial(gaussian_filter, sigma=1.5, radius=5)
    covariance = [mean(a * b) - mean(a) * mean(b) for a, b in ((x, x), (y, y), (x, y))]
    luminance = (2 * mean(x) * mean(y) + 1e-4) / (mean(x) ** 2 + mean(y) ** 2 + 1e-4)
    structure = (2 * covariance[2] + 9e-4) / (covariance[0] + covariance[1] + 9e-4)
    expected = (luminance * structure)[5:-5, 5:-5].mean()
    assert layout_kept(one, other) == pytest.approx(expected, abs=1e-4)


def test_every_objective_has_the_same_subjects():
    assert prompted(25, 3) == prompted(25, 3) and len({toy for toy, _ in prompted(20, 0)}) == 20
    assert [subject.seed for subject in subjects_of(prompted(4, 7), 7)] == [7, 8, 9, 10]


def test_the_worlds_own_images_are_right_and_others_wrong(judge):
    shard = make_shard(5, 30, clean=True)
    images = shard.images.float() / 255
    known = features(judge, images)
    right = [(scene.toy, scene.colour) for scene in shard.scenes]
    figures, _ = row("world", Samples(images, 6.0, 120), right, judge, known)
    assert min(figures.toy, figures.colour, figures.both) >= 0.9 and figures.frechet < 1e-3
    assert (figures.count, figures.calls, figures.seconds) == (60, 2.0, 0.1)
    assert (figures.paper_fid, figures.paper_minutes) == (None, None)
    shifted, _ = row("sds", Samples(images.roll(2, 0)), right, judge, known)
    assert shifted.both <= shifted.toy < 0.3
    assert (shifted.paper_fid, shifted.paper_minutes) == (86.02, 4.48)
    gray, _ = row("gray", Samples(images.mean(1, keepdim=True).expand(-1, 3, -1, -1)), right, judge, known)
    assert gray.saturation < 1e-6 < figures.saturation and gray.frechet > 1


@pytest.mark.parametrize("name", FILTERS)
def test_paintings_repeat_and_are_no_longer_clean(judge, name):
    given = paintings(name, 6, seed=1)
    again = paintings(name, 6, seed=1)
    assert all(torch.equal(a.image, b.image) for a, b in zip(given, again, strict=True))
    assert judge(torch.stack([p.image for p in given])).clean.mean() < 0.6


def test_layout_survives_texture_and_not_another_image():
    given = torch.stack([p.image for p in paintings("own", 4, seed=2)])
    noise = 0.1 * torch.randn(given.shape, generator=torch.Generator().manual_seed(0))
    assert layout_kept(given, given) == pytest.approx(1)
    assert layout_kept((given + noise).clamp(0, 1), given) > 0.9 > layout_kept(given.roll(1, 0), given)


def test_a_perfect_painter_beats_one_that_does_nothing(judge, monkeypatch):
    """As if the bridge were the one, and SDS the other."""
    prior = StubPrior()
    prior.encode = lambda images: F.interpolate(images, (SIZE, SIZE))
    prior.decode = lambda latents: F.interpolate(latents, (64, 64)).clamp(0, 1)

    def clean_images(count: int, seed: int) -> list[torch.Tensor]:
        scenes = [np.random.default_rng([seed, k]) for k in range(count)]
        toys = [p.scene.toy for p in paintings("own", count, seed)]
        return [
            next(random_scenes(r, 64, toy=toy, clean=True))[0] for r, toy in zip(scenes, toys, strict=True)
        ]

    def painted(pattern, prior, subjects, options, start) -> Samples:
        if pattern.objective == "sds":
            return Samples(start)
        answers = clean_images(4, 9)
        return Samples(torch.stack([answers[subject.seed - 9] for subject in subjects]))

    monkeypatch.setattr("bridge_nerf.evaluation.paintings.generated", painted)
    patterns, rows = [replace(SPEC, objective=name) for name in ("sds", "bridge")], {}
    for figures, _ in painting_rows(patterns, prior, judge, TableOptions(4, 2, 9, Path("none"))):
        rows[figures.filter, figures.method] = figures
    for name in FILTERS:
        assert rows[name, "sds"].gain == 0 and rows[name, "sds"].layout == pytest.approx(1)
        assert rows[name, "bridge"].together > rows[name, "sds"].together
        assert rows[name, "bridge"].gain > 0.2


def test_both_readings_of_an_illusion_count(judge, monkeypatch):
    r = np.random.default_rng(0)
    pineapple, mushroom = (
        next(random_scenes(r, 64, toy=toy, clean=True))[0] for toy in ("pineapple", "mushroom")
    )

    def made(pattern, prior, subjects, options) -> Samples:
        assert subjects[0].prompts == ("a pineapple", "a mushroom")
        images = [pineapple if s.seed % 2 else torch.rot90(mushroom, 2, (-2, -1)) for s in subjects]
        return Samples(torch.stack(images), 1.0, 1)

    monkeypatch.setattr("bridge_nerf.evaluation.illusions.generated", made)
    pairs, options = [("pineapple", "mushroom")], TableOptions(4, 2, 0, Path("none"))
    (figures, images), *_ = illusion_rows(SPEC, StubPrior(), judge, pairs, options)
    assert images.shape == (8, 3, 64, 64) and torch.equal(images[4], mushroom)
    assert figures.first == figures.second == 0.5 and figures.both == 0


@dataclass(frozen=True)
class Line:
    method: str
    count: int
    score: float
    distance: float
    paper: float | None = None


LINES = [Line("one <b>", 3, 0.5, 2.0), Line("two", 3, float("nan"), -4.0, 5.0)]


def test_tables_are_text_json_and_a_plot(tmp_path):
    lines = text_table(LINES).splitlines()
    assert [len(line) for line in lines] == [len(lines[0])] * 3 and lines[1].split()[-2:] == ["2.000", "-"]
    write_table(LINES, tmp_path / "table", seed=4)
    data = json.loads((tmp_path / "table.json").read_text())
    assert data["seed"] == 4 and data["rows"][0]["distance"] == 2.0
    assert "one &lt;b&gt;" in (tmp_path / "table.svg").read_text()


def test_a_chart_has_a_bar_for_every_known_number():
    score, distance, paper = bars(LINES).axes
    lengths = [[bar.get_width() for bar in panel.patches] for panel in (score, distance, paper)]
    assert lengths == [[0.5, 0], [2, -4], [0, 5]]
    assert [label.get_text() for label in paper.texts] == ["-", "5"]
    assert [label.get_text() for label in score.get_yticklabels()] == ["one <b>", "two"]
