"""Races with the same noise, and images made once more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from bridge_nerf.errors import UserError
from bridge_nerf.images.compare import compare
from bridge_nerf.images.image_files import note_in
from bridge_nerf.images.reproduce import noted_spec, other_versions, reproduce
from bridge_nerf.images.run import optimise_images
from bridge_nerf.pixels import png
from tests.images.conftest import SPEC, several


def watch(progress) -> None:
    """Looks on and says nothing."""


def test_all_objectives_see_the_same_noise_and_times(prior, tmp_path):
    specs = {name: replace(SPEC, objective=name) for name in ("sds", "bridge")}
    folder = tmp_path / "race"
    results = compare(specs, folder, prior, observer=lambda name: watch)
    assert [result.finished for result in results] == [True, True]
    tables = [(folder / name / "metrics.csv").read_text().splitlines() for name in specs]
    assert tables[0][:7] == tables[1][:7], "the bridge's first stage is SDS"
    assert [row.split(",")[2] for row in tables[0]] == [row.split(",")[2] for row in tables[1]]
    assert tables[0] != tables[1]
    with av.open(str(folder / "video.mp4")) as film:
        assert len(list(film.decode(video=0))) == 13
    assert Image.open(folder / "grid.png").height > 2 * 128


def test_a_comparison_without_its_grid_is_made_none_the_less(prior, tmp_path, monkeypatch, capsys):
    specs = {name: replace(SPEC, objective=name) for name in ("sds", "bridge", "csd")}
    folder = tmp_path / "race"
    results = compare(specs, folder, prior, observer=lambda name: watch)
    (folder / "sds" / "frames" / "000003.png").unlink()

    def die(*_) -> None:
        raise RuntimeError("no png")

    monkeypatch.setattr("bridge_nerf.images.compare.png", die)
    assert compare(specs, folder, prior, observer=lambda name: pytest.fail) == results
    assert not (folder / "grid.png").exists(), "an old one would pass for a new one"
    assert "grid.png could not be made" in capsys.readouterr().err
    with av.open(str(folder / "video.mp4")) as film:
        shown = list(film.decode(video=0))
    assert len(shown) == 13 and (shown[0].height, shown[0].width) == (2 * (128 + 16), 2 * (3 * 132 - 4))


@pytest.mark.parametrize("stop", [None, 4])
def test_an_image_is_made_again_from_what_it_says(prior, tmp_path, stop):
    result = optimise_images(
        several(range(3, 5)), tmp_path / "first", prior, on_step=lambda p: p.done != stop
    )
    again, difference = reproduce(result.images[1], tmp_path / "again", prior, watch)
    assert difference == 0 and again != result.images[1]
    assert note_in(again)["done"] == note_in(result.images[1])["done"] == (stop or 12)


def test_an_edited_image_is_told_apart(prior, tmp_path):
    result = optimise_images(SPEC, tmp_path / "first", prior)
    note = note_in(result.images[0])
    pixels = np.asarray(Image.open(result.images[0])).copy()
    pixels[0, 0, 0] ^= 8
    edited = tmp_path / "edited.png"
    edited.write_bytes(png(pixels, note))
    assert reproduce(edited, tmp_path / "again", prior, watch)[1] == 8
    edited.write_bytes(png(pixels[:-1], note))
    with pytest.raises(UserError, match="it was edited"):
        reproduce(edited, tmp_path / "again", prior, watch)


def test_other_versions_are_named(prior, tmp_path):
    _, note = noted_spec(optimise_images(SPEC, tmp_path / "first", prior).images[0])
    assert other_versions(note) == []
    older = replace(note, versions=note.versions | {"torch": "0.1", "../x": "1"})
    assert other_versions(older) == [f"torch 0.1, now {note.versions['torch']}"]


def test_a_note_of_another_kind_is_refused(prior, tmp_path):
    path: Path = tmp_path / "a.png"
    path.write_bytes(png(np.zeros((2, 2, 3), np.uint8), {"spec": 3}))
    with pytest.raises(UserError, match="cannot be read"):
        reproduce(path, tmp_path / "again", prior, watch)
