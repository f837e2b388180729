"""What an earlier call has left: recognised, also where another version has noted it, or left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from bridge_nerf.errors import UserError
from bridge_nerf.images.folder import folder_of
from bridge_nerf.images.image_files import note_in, say_once
from bridge_nerf.images.run import optimise_images
from tests.images.conftest import CONFIG, SPEC, changed

OLD, NEW = "0123abcd", "0123456789abcdef"
"""Letters of earlier versions, and of this one."""


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path))


def not_again(progress) -> None:
    pytest.fail("made again")


@pytest.mark.parametrize("letters", [OLD, ""])
@pytest.mark.parametrize("stop", [5, 12])
def test_what_an_earlier_version_began_goes_on_where_it_is(prior, tmp_path, capsys, letters, stop):
    whole = optimise_images(SPEC, tmp_path / "whole" / "run", prior)
    begun, now = replace(SPEC, weights=letters), replace(SPEC, weights=NEW)
    old = optimise_images(begun, tmp_path / begun.name, prior, lambda p: p.done < stop)
    again = folder_of(now, tmp_path)
    assert again == old.folder != tmp_path / now.name
    capsys.readouterr()
    say_once.cache_clear()
    on_step = None if stop < 12 else not_again
    result = optimise_images(now, again, prior, on_step)
    assert result.finished and np.array_equal(pixels(result.images[0]), pixels(whole.images[0]))
    said = capsys.readouterr().out
    assert said.startswith(f"{tmp_path}: goes on with what an earlier version began")
    assert said.count("\n") == 1 and "give another --out" in said
    assert note_in(result.images[0])["spec"]["weights"] == letters  # what is not known is not claimed


def test_other_weights_and_other_numbers_are_another_run(prior, tmp_path, capsys):
    for begun in (
        replace(SPEC, weights=NEW[::-1]),
        replace(SPEC, weights=OLD, config=changed(CONFIG, canvas="pixels")),
    ):
        optimise_images(begun, tmp_path / begun.name, prior, lambda p: False)
    (tmp_path / f"{SPEC.name[:-8]}00000000").mkdir()
    (tmp_path / f"{SPEC.name[:-8]}11111111").mkdir()
    (tmp_path / f"{SPEC.name[:-8]}11111111" / "run.json").write_text("{}")
    now = replace(SPEC, weights=NEW)
    assert folder_of(now, tmp_path) == tmp_path / now.name
    with pytest.raises(UserError, match="holds another run"):
        optimise_images(now, tmp_path / replace(SPEC, weights=NEW[::-1]).name, prior)
    assert not capsys.readouterr().out
