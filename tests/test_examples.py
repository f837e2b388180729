"""The examples run as their first lines say, and stay short."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from PIL import Image

from bridge_nerf import CANVASES, OBJECTIVES, PRIORS

EXAMPLES = sorted(Path(__file__).parents[1].glob("examples/*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_it_runs_as_it_says(example, tmp_path, monkeypatch):
    text = example.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    (command,) = re.findall(rf"^python examples/{example.name} (.*)$", text, flags=re.M)
    for registry in (CANVASES, OBJECTIVES, PRIORS):
        monkeypatch.setattr(registry, "_own", dict(registry._own))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(example), *shlex.split(command), "--steps", "3"])
    runpy.run_path(str(example), run_name="__main__")
    (path,) = {*tmp_path.glob("*.png"), *tmp_path.glob("outputs/images/*/picture-s0.png")}
    with Image.open(path) as image:
        assert image.size[0] in (32, 64)


def test_there_is_one_for_each_thing_of_ones_own():
    assert [path.stem for path in EXAMPLES] == ["own_canvas", "own_objective", "own_prior", "sds_loop"]
