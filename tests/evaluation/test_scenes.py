"""Scenes that are measured: kept and never mixed, and their figures. None is trained."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from bridge_nerf import cli
from bridge_nerf.errors import UserError
from bridge_nerf.evaluation import scene_figures, scenes
from bridge_nerf.evaluation.figures import Figure
from bridge_nerf.evaluation.kept import KeptScenes, Run, Scene
from bridge_nerf.evaluation.report import evaluate_toybox
from bridge_nerf.evaluation.scene_figures import SceneFigures, summary, toy_figure
from bridge_nerf.evaluation.sheets import LABEL
from bridge_nerf.evaluation.statistics import bootstrap_interval, wilson_interval
from bridge_nerf.evaluation.world import turntable
from bridge_nerf.guidance.config import PriorConfig
from tests.nerf.stub import StubPrior

SIDES = 8


class Trained(list):
    """The runs that were trained, and how to fail one."""

    fails: Run | None = None

    def __call__(self, run: Run, prior: PriorConfig, out: Path) -> Scene:
        self.append(run)
        if run == self.fails:
            raise SystemExit("error: the disk is full")
        return Scene(turntable(run.toy, SIDES, run.seed).images, 60.0)


@pytest.fixture
def prior(monkeypatch: pytest.MonkeyPatch) -> StubPrior:
    stub = StubPrior()
    monkeypatch.setattr(PriorConfig, "load", lambda self, device=None: ("stub", stub))
    return stub


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, prior: StubPrior) -> Trained:
    """Each scene is a toy of the world; few renders are made for its figures."""
    for name, count in (("FITTED", 48), ("HELD_OUT", 16), ("CLEAN", 16)):
        monkeypatch.setattr(scene_figures, name, count)
    record = Trained()
    monkeypatch.setattr(scenes, "trained", record)
    return record


def measured(out: Path, toys=("duck",), seeds=(1,), objectives=("sds",)) -> list[Figure]:
    return evaluate_toybox(("scenes",), PriorConfig("toybox"), None, toys, objectives, out, seeds)


def test_toys_of_the_world_pass_and_are_written(trained, tmp_path):
    figures = measured(tmp_path, ("duck", "pineapple"), (1, 2), ("sds", "bridge"))
    assert trained == [Run(o, t, s) for o in ("sds", "bridge") for t in ("duck", "pineapple") for s in (1, 2)]
    by_name = {figure.name: figure for figure in figures}
    assert len(by_name) == len(figures) == 2 * 8
    assert by_name["bridge 3D: R-precision, mean over 2 toys"].value == 1
    share, right = (
        by_name["sds 3D: view accuracy / the world's own, mean"],
        by_name["sds 3D: orientation right"],
    )
    assert share.value >= 0.9 and share.interval is not None and share.count == 2, "a pineapple has no front"
    assert (right.value, right.count, right.details, right.interval) == (
        1,
        2,
        "2 of 2",
        wilson_interval(2, 2),
    )
    assert 0.8 < by_name["sds 3D: feature distance ratio, mean"].value < 1.2
    written = json.loads((tmp_path / "figures.json").read_text())
    assert [row["value"] for row in written] == [figure.value for figure in figures]
    rows = json.loads((tmp_path / "scenes.json").read_text())
    assert len(rows) == 8 and {row["turning"] is None for row in rows if row["toy"] == "pineapple"} == {True}
    # Of each toy the world's row and four scenes.
    assert Image.open(tmp_path / "scenes.png").size == (8 * 64, 2 * 5 * (LABEL + 64))


def test_what_is_done_is_kept_and_not_trained_again(trained, tmp_path, capsys):
    trained.fails = Run("sds", "duck", 2)
    with pytest.raises(SystemExit, match="the disk is full"):
        measured(tmp_path, seeds=(1, 2))
    assert [path.name for path in (tmp_path / "views").iterdir()] == ["sds-duck-1.npz"]
    trained.fails = None
    trained.clear()
    first = measured(tmp_path, seeds=(1, 2))
    assert trained == [Run("sds", "duck", 2)] and "1 of 2 scenes are kept" in capsys.readouterr().out
    trained.clear()
    assert measured(tmp_path, seeds=(1, 2)) == first and not trained


def test_a_toys_row_does_not_wait_for_the_next(trained, tmp_path):
    trained.fails = Run("sds", "pineapple", 1)
    with pytest.raises(SystemExit, match="the disk is full"):
        measured(tmp_path, ("duck", "pineapple"))
    (row,) = json.loads((tmp_path / "figures.json").read_text())
    assert row["name"] == "sds 3D, a duck: R-precision"


def test_scenes_of_other_weights_are_not_mixed_in(trained, prior, tmp_path):
    measured(tmp_path)
    kept = (tmp_path / "views" / "sds-duck-1.npz").read_bytes()
    figures = (tmp_path / "figures.json").read_text()
    prior.fingerprint = "another ball"
    said = r"sds-duck-1.npz holds .* \(the prior's weights was a ball on white., is another ball\)"
    with pytest.raises(UserError, match=said):
        measured(tmp_path, seeds=(1, 2))
    assert trained == [Run("sds", "duck", 1)], "it is said before anything is trained"
    assert (tmp_path / "views" / "sds-duck-1.npz").read_bytes() == kept
    assert (tmp_path / "figures.json").read_text() == figures


def test_scenes_of_other_numbers_are_not_mixed_in(trained, tmp_path, monkeypatch):
    measured(tmp_path)
    usual = scenes.variant_config

    def other(*given):
        config = usual(*given)
        config.pipeline.guidance.times = replace(config.pipeline.guidance.times, minimum=0.0123)
        return config

    monkeypatch.setattr(scenes, "variant_config", other)
    with pytest.raises(UserError, match=r"pipeline.times.minimum was .*, is 0.0123\), and figures never mix"):
        measured(tmp_path)


def test_a_run_is_configured_as_its_name_says(prior, tmp_path):
    config = scenes.run_config(Run("sds", "apple", 7), PriorConfig("toybox"), tmp_path)
    assert (config.machine.seed, config.pipeline.objective) == (7, "sds")
    assert config.pipeline.model.prompt == "an apple" and config.output_dir == tmp_path / "sds-apple-7"
    one, other = (scenes.identity(Run("sds", "apple", seed), PriorConfig("toybox"), "w") for seed in (7, 8))
    assert {name for name in one if one[name] != other[name]} == {"machine.seed"}
    elsewhere = scenes.identity(Run("sds", "apple", 7), PriorConfig("/same/weights"), "w")
    assert elsewhere == one, "the weights say which prior it is"


def test_a_damaged_scene_is_said(tmp_path):
    run = Run("bridge:release-3d", "ice cream", 1)
    kept = KeptScenes(tmp_path, {run: {"seed": "1"}})
    assert kept.missing() == [run]
    views = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    kept.write(run, Scene(views, 1.5))
    scene = kept.read(run)
    assert scene is not None and scene.seconds == 1.5 and kept.missing() == []
    assert torch.equal(scene.views, (views * 255).round() / 255)
    path = tmp_path / "bridge-release-3d-ice-cream-1.npz"
    for data in (path.read_bytes()[:100], b"", b"views"):
        path.write_bytes(data)
        with pytest.raises(UserError, match="not a kept scene, or damaged; remove it"):
            kept.read(run)


GOOD = SceneFigures(
    objective="sds",
    toy="duck",
    seed=1,
    r_precision=1.0,
    taken_for={},
    world_view_accuracy=0.96,
    view_accuracy=0.96,
    orientation=2.0,
    turning=0.9,
    orientation_right=True,
    distance_ratio=1.2,
    frechet_distance=2.0,
    seconds=60.0,
)
BACKWARD = replace(
    GOOD, seed=2, view_accuracy=0.0, orientation=178.0, orientation_right=False, distance_ratio=3.0
)
ROUND = replace(
    GOOD,
    toy="cake",
    r_precision=0.5,
    taken_for={"mug": 12},
    view_accuracy=None,
    orientation=None,
    turning=None,
    orientation_right=None,
)


def test_a_toy_is_the_mean_over_its_seeds():
    duck, cake = toy_figure([GOOD, BACKWARD], 48), toy_figure([ROUND], 24)
    assert (duck.name, duck.value, duck.count) == ("sds 3D, a duck: R-precision", 1, 48)
    for words in (
        "view accuracy 0.48 (the world's own 0.96)",
        "right 1 of 2 (+2, +178 degrees)",
        "ratio 2.10",
    ):
        assert words in duck.details
    assert cake.value == 0.5 and "orientation" not in cake.details and "taken for 12 x mug" in cake.details


def test_all_scenes_together_fall_with_the_worst():
    figures = {
        figure.name.removeprefix("sds 3D: "): figure for figure in summary([GOOD, BACKWARD, ROUND], 72)
    }
    precision = figures["R-precision, mean over 2 toys"]
    assert precision.value == pytest.approx(2.5 / 3) and precision.count == 72
    accuracy = figures["view accuracy / the world's own, mean"]
    assert (accuracy.value, accuracy.count, accuracy.details) == (0.5, 2, "below: duck 2 (0.00)")
    assert accuracy.interval == bootstrap_interval([1.0, 0.0]) and accuracy.goal == ">= 0.90"
    assert figures["view accuracy, mean"].value == 0.48
    right = figures["orientation right"]
    assert (right.value, right.goal, right.interval) == (0.5, "= 1.00", wilson_interval(1, 2))
    assert right.details == "1 of 2; wrong: duck 2 (+178 degrees, turning 0.90)"
    ratio = figures["feature distance ratio, mean"]
    assert ratio.value == pytest.approx(1.8) and ratio.details.startswith("farthest: duck 2 (3.00), ")


def test_round_toys_alone_have_no_pose():
    assert len(figures := list(summary([ROUND], 24))) == 2
    assert all(figure.interval is None for figure in figures), "one scene says nothing about its spread"


def test_figures_are_measured_without_their_sheet(trained, tmp_path, capsys):
    (tmp_path / "scenes.png").mkdir()  # no image can be saved there
    figures = measured(tmp_path, ("pineapple",))
    assert len(json.loads((tmp_path / "figures.json").read_text())) == len(figures) == 4
    assert "scenes.png could not be made" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--what", "judge", "--seeds", "1"], "--seeds is about scenes, which --what leaves out"),
        (["--what", "judge", "--processes", "2"], "--processes is about scenes"),
        (
            ["--what", "scenes", "--seeds", "-1"],
            "--seeds -1 makes no sense; give a number from 0 to 4294967295",
        ),
        (["--what", "scenes", "--seeds"], "--seeds says nothing"),
        (["--what", "scenes", "--seeds", "3", "1", "3"], "seed 3 is given more than once"),
        (["--what", "scenes", "--processes", "0"], "--processes 0 makes no sense; give a number from 1 on"),
    ],
)
def test_impossible_requests_are_one_line_and_leave_nothing(flags, said, prior, monkeypatch, tmp_path):
    monkeypatch.setattr(
        sys, "argv", ["bridge-nerf", "evaluate-toybox", *flags, "--out", str(tmp_path / "out")]
    )
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert said in str(stop.value) and "\n" not in str(stop.value) and not (tmp_path / "out").exists()
