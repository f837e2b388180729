"""Contact sheets, and which objectives they show."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from bridge_nerf.errors import UserError
from bridge_nerf.evaluation.figures import Figure
from bridge_nerf.evaluation.report import evaluate_toybox, image_tables, named
from bridge_nerf.evaluation.sheets import LABEL, labelled, sheet
from bridge_nerf.evaluation.table import write_table
from tests.nerf.stub import StubPrior


def ramp(n: int) -> torch.Tensor:
    """n plain images, each brighter than the one before."""
    return (torch.arange(n) / 24).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)


def test_a_row_shows_all_sides_under_its_name() -> None:
    image = np.asarray(labelled({"one": ramp(24), "two": ramp(3)}, 8))
    assert image.shape == (2 * (LABEL + 4), 8 * 4, 3)
    first, second = (image[top + LABEL + 1, ::4, 0] for top in (0, LABEL + 4))
    assert first.tolist() == [round(255 * k / 24) for k in range(0, 24, 3)]
    assert second.tolist() == [0, 11, 21] + [255] * 5
    assert image[:LABEL].min() < 128, "the name is written"


def test_all_means_what_needs_no_image_to_start_from() -> None:
    every = named(["all"])
    assert {"sds", "bridge", "vsd-bridge", "ism"} <= set(every) and not {"dds", "pds"} & set(every)
    assert named(["bridge", "all"])[0] == "bridge" and len(named(["bridge", "all"])) == len(every)
    for wrong, said in (
        (["sds", "alchemy"], "unknown method 'alchemy'"),
        (["sds", "dds"], "dds edits"),
        ([], "no objective is named"),
    ):
        with pytest.raises(UserError, match=said):
            named(wrong)


def test_names_are_checked_before_anything_is_made() -> None:
    asked = {"objectives": ["sds"], "count": 2, "batch": 1, "seed": 0, "what": ["objectives"]}

    def never(*_):
        raise AssertionError("something was made")

    for wrong, said in (
        ({"editors": ["brige"], "turned": []}, "brige"),
        ({"editors": [], "turned": ["ufo"]}, "ufo"),
    ):
        with pytest.raises(UserError, match=said):
            image_tables(SimpleNamespace(**asked, **wrong), StubPrior(), never)


def test_figures_are_measured_without_their_sheet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr("bridge_nerf.evaluation.figures._before_white", lambda toy: torch.rand(8, 3, 64, 64))
    (tmp_path / "scenes.png").mkdir()  # no image can be saved there
    command = SimpleNamespace(
        what=("scenes",), toys=("pineapple",), objectives=("sds",), judge=None, prior="toybox", out=tmp_path
    )
    figures = evaluate_toybox(command, lambda prompt, objective: torch.rand(24, 3, 64, 64))
    assert len(json.loads((tmp_path / "figures.json").read_text())) == len(figures) == 3
    assert "scenes.png could not be made" in capsys.readouterr().err


def test_a_table_is_written_without_its_plot(tmp_path: Path, capsys) -> None:
    row = Figure("share", 0.5, "0.9", 8)
    (tmp_path / "table.svg").mkdir()
    write_table([row], tmp_path / "table", seed=0)
    assert json.loads((tmp_path / "table.json").read_text())["rows"] and (tmp_path / "table.txt").exists()
    assert "table.svg could not be made" in capsys.readouterr().err


def test_images_that_are_not_finite_are_not_laid_out() -> None:
    with pytest.raises(UserError, match="1 of 3 images"):
        sheet(torch.cat([ramp(2), torch.full((1, 3, 4, 4), torch.nan)]), 2)


def test_scenes_of_several_objectives_lie_on_one_sheet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge_nerf.evaluation.figures._before_white", lambda toy: torch.rand(8, 3, 64, 64))
    made = []

    def turntable(prompt: str, objective: str) -> torch.Tensor:
        made.append((objective, prompt))
        return torch.rand(24, 3, 64, 64)

    command = SimpleNamespace(
        what=("scenes",),
        toys=("pineapple",),
        objectives=("sds", "bridge"),
        judge=None,
        prior="toybox",
        out=tmp_path,
    )
    figures = evaluate_toybox(command, turntable)
    assert made == [("sds", "a pineapple"), ("bridge", "a pineapple")]
    assert Image.open(tmp_path / "scenes.png").size == (8 * 64, 2 * (LABEL + 64))
    assert len(json.loads((tmp_path / "figures.json").read_text())) == len(figures) == 6
