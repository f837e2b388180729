"""`import bridge_nerf`: light, complete, and the same for a type checker."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import bridge_nerf
from bridge_nerf.errors import UserError
from bridge_nerf.images.generation import generate
from bridge_nerf.images.options import ImageOptions

SOURCE = Path(bridge_nerf.__file__).read_text(encoding="utf-8")


def test_importing_it_imports_nothing_else_of_weight():
    program = """
import sys
before = len(sys.modules)
import bridge_nerf
assert len(sys.modules) - before < 20
print(sorted({name.split(".")[0] for name in sys.modules} & {"torch", "numpy", "tyro", "diffusers"}))
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


def test_type_checkers_see_what_is_imported_when_first_used():
    (block,) = [node for node in ast.parse(SOURCE).body if isinstance(node, ast.If)]
    seen = {
        f"{node.module}:{name.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    assert seen == {f"{module}:{name}" for name, module in bridge_nerf._HOMES.items()}
    assert len(seen) < 40, "a front door, not the whole house"


@pytest.mark.parametrize("name", bridge_nerf._HOMES)
def test_every_name_is_there(name):
    if name == "optimise_scene":
        pytest.importorskip("nerfstudio")
    assert name in dir(bridge_nerf)
    module = importlib.import_module(bridge_nerf._HOMES[name])
    assert getattr(bridge_nerf, name) is getattr(module, name)


def test_a_wrong_name_is_answered_with_the_right_ones():
    with pytest.raises(AttributeError, match=r"no attribute 'sdss'; it has .*\bsds\b"):
        bridge_nerf.sdss  # noqa: B018
    with pytest.raises(ImportError, match="sdss"):
        from bridge_nerf import sdss  # noqa: F401


def test_a_prompt_becomes_images_in_one_call():
    images = bridge_nerf.make_images("a red apple", "sds", "toybox", seed=3, count=2, steps=2, size=32)
    assert images.shape == (2, 3, 32, 32)
    options = ImageOptions(seed=3, size=32, overrides={"steps": 2})
    options.prior.name = "toybox"
    spec, prior = options.load("image", "sds", ("a red apple",), 2)
    *_, last = generate([spec], prior)
    assert torch.equal(images, last.images())


def test_a_wrong_number_is_named():
    with pytest.raises(UserError, match="unknown number --step; choose among .*steps"):
        bridge_nerf.make_images("a red apple", prior="toybox", step=2)
