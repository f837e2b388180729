"""The image tables: measures against references, rows against makers that are right or wrong on purpose."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchmetrics.functional.image import structural_similarity_index_measure

from bridge_nerf.evaluation.figures import features
from bridge_nerf.evaluation.illusions import illusion_rows
from bridge_nerf.evaluation.making import Made, Wanted, in_batches
from bridge_nerf.evaluation.objectives import asked, row, wanted
from bridge_nerf.evaluation.paintings import FILTERS, layout_kept, painting_rows, paintings
from bridge_nerf.evaluation.statistics import ssim
from bridge_nerf.evaluation.table import bars, text_table, write_table
from bridge_nerf.paths import asset
from bridge_nerf.toybox.dataset import make_shard, random_scenes
from bridge_nerf.toybox.judge import Judge
from tests.nerf.stub import SIZE, StubPrior


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load(asset("toybox/judge"))


def test_structural_similarity_is_that_of_torchmetrics():
    r = torch.Generator().manual_seed(0)
    one = torch.rand(3, 1, 40, 32, generator=r)
    other = (one + 0.3 * torch.randn(one.shape, generator=r)).clamp(0, 1)
    _, everywhere = structural_similarity_index_measure(
        one, other, data_range=1.0, reduction="none", return_full_image=True
    )
    reference = everywhere[..., 5:-5, 5:-5].mean((1, 2, 3))  # where the window lies inside
    torch.testing.assert_close(ssim(one, other), reference, rtol=0, atol=1e-5)


def test_everything_wanted_is_made_once_and_in_order():
    def make(objective: str, some: Sequence[Wanted]) -> Made:
        assert len(some) <= 3
        return Made(torch.tensor([float(w.seed) for w in some]).view(-1, 1, 1, 1).expand(-1, 3, 2, 2), 1.0, 5)

    made = in_batches(make, "sds", [Wanted(("a",), k) for k in range(7)], batch=3)
    assert made.images[:, 0, 0, 0].tolist() == list(range(7))
    assert (made.seconds, made.calls) == (3.0, 15)


def test_every_objective_is_asked_for_the_same():
    assert [w.prompts for w in wanted(25, 3)] == [w.prompts for w in wanted(25, 3)]
    assert len({toy for toy, _ in asked(20, 0)}) == 20
    assert [w.seed for w in wanted(4, 7)] == [7, 8, 9, 10]


def test_the_worlds_own_images_are_right_and_others_wrong(judge):
    shard = make_shard(5, 30, clean=True)
    images = shard.images.float() / 255
    known = features(judge, images)
    right = [(scene.toy, scene.colour) for scene in shard.scenes]
    figures, _ = row("world", Made(images, 6.0, 120), right, judge, known)
    assert min(figures.toy, figures.colour, figures.both) >= 0.9 and figures.frechet < 1e-3
    assert (figures.count, figures.calls, figures.seconds) == (60, 2.0, 0.1)
    assert (figures.paper_fid, figures.paper_minutes) == (None, None)
    shifted, _ = row("sds", Made(images.roll(2, 0), 0, 0), right, judge, known)
    assert shifted.both <= shifted.toy < 0.3
    assert (shifted.paper_fid, shifted.paper_minutes) == (86.02, 4.48)
    gray, _ = row("gray", Made(images.mean(1, keepdim=True).expand(-1, 3, -1, -1), 0, 0), right, judge, known)
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


def test_a_perfect_painter_beats_one_that_does_nothing(judge):
    prior = StubPrior()
    prior.encode = lambda images: F.interpolate(images, (SIZE, SIZE))
    prior.decode = lambda latents: F.interpolate(latents, (64, 64)).clamp(0, 1)

    def clean_images(count: int, seed: int) -> list[torch.Tensor]:
        scenes = [np.random.default_rng([seed, k]) for k in range(count)]
        toys = [p.scene.toy for p in paintings("own", count, seed)]
        return [
            next(random_scenes(r, 64, toy=toy, clean=True))[0] for r, toy in zip(scenes, toys, strict=True)
        ]

    def make(objective: str, some: Sequence[Wanted]) -> Made:
        if objective == "nothing":
            return Made(torch.stack([w.start for w in some if w.start is not None]), 0.0, 0)
        answers = clean_images(4, 9)
        return Made(torch.stack([answers[w.seed - 9] for w in some]), 0.0, 0)

    rows = {}
    for figures, _ in painting_rows(make, prior, judge, ["nothing", "perfect"], count=4, batch=2, seed=9):
        rows[figures.filter, figures.method] = figures
    for name in FILTERS:
        assert rows[name, "nothing"].gain == 0 and rows[name, "nothing"].layout == pytest.approx(1)
        assert rows[name, "perfect"].together > rows[name, "nothing"].together
        assert rows[name, "perfect"].gain > 0.2


def test_both_readings_of_an_illusion_count(judge):
    r = np.random.default_rng(0)
    pineapple, mushroom = (
        next(random_scenes(r, 64, toy=toy, clean=True))[0] for toy in ("pineapple", "mushroom")
    )

    def make(objective: str, some: Sequence[Wanted]) -> Made:
        assert some[0].prompts == ("a pineapple", "a mushroom")
        images = [pineapple if w.seed % 2 else torch.rot90(mushroom, 2, (-2, -1)) for w in some]
        return Made(torch.stack(images), 1.0, 1)

    pairs = [("pineapple", "mushroom")]
    (figures, images), *_ = illusion_rows(make, judge, pairs, "bridge", 4, 2, 0)
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
    from xml.etree import ElementTree

    plot = ElementTree.fromstring((tmp_path / "table.svg").read_text())
    lengths = [float(e.get("width", "")) for e in plot if e.tag.endswith("rect") and e.get("x")]
    assert lengths[2] * 2 == lengths[3] and lengths[1] == 0, "bars are in proportion"
    assert lengths[4] == 0 < lengths[5], "what is not known has none"
    assert bars(LINES).count("one &lt;b&gt;") == 3
