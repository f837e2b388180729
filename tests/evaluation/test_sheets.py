"""Contact sheets, and which objectives they show."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bridge_nerf.errors import UserError
from bridge_nerf.evaluation.figures import Figure
from bridge_nerf.evaluation.image_tables import check_tables
from bridge_nerf.evaluation.report import named
from bridge_nerf.evaluation.sheets import LABEL, labelled, sheet
from bridge_nerf.evaluation.table import write_table


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
        (["sds", "alchemy"], "unknown objective 'alchemy'"),
        (["sds", "dds"], "dds edits"),
        ([], "no objective is named"),
    ):
        with pytest.raises(UserError, match=said):
            named(wrong)


@pytest.mark.parametrize(("editors", "turned", "word"), [(["brige"], [], "brige"), ([], ["ufo"], "ufo")])
def test_names_are_checked_before_anything_is_made(editors, turned, word) -> None:
    with pytest.raises(UserError, match=word):
        check_tables(["objectives"], ["sds"], editors, turned)


def test_a_table_is_written_without_its_plot(tmp_path: Path, capsys) -> None:
    row = Figure("share", 0.5, "0.9", 8)
    (tmp_path / "table.svg").mkdir()
    write_table([row], tmp_path / "table", seed=0)
    assert json.loads((tmp_path / "table.json").read_text())["rows"] and (tmp_path / "table.txt").exists()
    assert "table.svg could not be made" in capsys.readouterr().err


def test_images_that_are_not_finite_are_not_laid_out() -> None:
    with pytest.raises(UserError, match="1 of 3 images"):
        sheet(torch.cat([ramp(2), torch.full((1, 3, 4, 4), torch.nan)]), 2)
