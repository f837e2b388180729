"""Every objective through both command lines, against the numbers in same_numbers.json.

A change of structure alone must leave them as they are. Whoever means to change what an objective computes
records them anew, with `python -m tests.test_same_numbers`. The tolerances allow for another CPU's rounding,
and any two objectives are further apart than that.
"""

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image

from bridge_nerf.cli.main import main

OBJECTIVES = ("sds", "nfsd", "csd", "vsd", "vsd-bridge", "asd", "ism", "sdi", "bridge-ode", "bridge")
RECORD = Path(__file__).with_name("same_numbers.json")
BLOCKS = 8
LEVELS = 2.0
"""How far the mean of a block of pixels may be off, of 255."""
SHARE = 1e-3
"""How far a tensor's mean may be off, as a share of its mean absolute value."""
OBJECT = 7
"""Tensors of a scene's object; those of an adapter follow."""
ADAPTER_SHARE = 30 * SHARE
"""As SHARE, of an adapter: its first steps divide gradients near zero by their own size, rounding and all."""

Numbers = list[list[float]]


def picture(objective: str) -> Numbers:
    """Means of 8x8 blocks of a picture, a row for each colour. A network for a canvas and little guidance set
    the objectives apart within five steps."""
    flags = "--prior toybox --canvas network --size 32 --steps 5 --seed 3"
    if objective != "bridge-ode":  # which has none
        flags += " --guidance-scale 3"
    with TemporaryDirectory() as folder:
        command = f"bridge-nerf image {flags} --objective {objective} --out {folder}"
        with patch.object(sys, "argv", [*command.split(), "--prompt", "a red apple"]):
            main()
        (file,) = Path(folder).glob("*/picture*.png")
        pixels = np.asarray(Image.open(file), dtype=float)
    side = pixels.shape[0] // BLOCKS
    means = pixels.reshape(BLOCKS, side, BLOCKS, side, 3).mean((1, 3))
    return means.reshape(-1, 3).T.round(2).tolist()


def scene(objective: str) -> Numbers:
    """(mean absolute value, mean) of each tensor of an object, and of the adapter where there is one."""
    from nerfstudio.configs.base_config import writer
    from nerfstudio.scripts.train import entrypoint

    for kept in (writer.EVENT_WRITERS, writer.EVENT_STORAGE, writer.GLOBAL_BUFFER):
        kept.clear()  # of the run before: they are module globals
    flags = (
        "--vis tensorboard --turntable-frames 4 --machine.seed 3 --max-num-iterations 2 "
        "--pipeline.datamanager.train-resolution 16 --pipeline.datamanager.eval-resolution 16 "
        "--pipeline.datamanager.eval-cameras 4 --pipeline.model.samples 16"
    )
    if objective != "bridge-ode":
        flags += " --pipeline.guidance-scale 3"
    if objective in ("bridge", "vsd-bridge"):
        flags += " --pipeline.stage-start 1"
    with TemporaryDirectory() as folder:
        command = (
            f"ns-train bridge-distill-tiny {flags} --pipeline.objective {objective} --output-dir {folder}"
        )
        with patch.object(sys, "argv", [*command.split(), "--prompt", "a red apple"]):
            entrypoint()
        (file,) = Path(folder).rglob("step-*.ckpt")
        tensors = torch.load(file, weights_only=True)["pipeline"].values()
    values = [t.double() for t in tensors if t.is_floating_point() and t.numel()]
    return [[float(f"{x:.6g}") for x in (t.abs().mean(), t.mean())] for t in values]


def tolerance(kind: str, numbers: Numbers) -> np.ndarray:
    """How far each number may be off."""
    if kind == "2D":
        return np.full((len(numbers), 1), LEVELS)
    shares = np.where(np.arange(len(numbers)) < OBJECT, SHARE, ADAPTER_SHARE)
    return shares[:, None] * np.array(numbers)[:, :1]


def apart(kind: str, one: Numbers, other: Numbers) -> float:
    """The largest difference, in tolerances; only of what both have, as few objectives have an adapter."""
    both = min(len(one), len(other))
    difference = np.abs(np.array(one[:both]) - np.array(other[:both]))
    return float((difference / np.maximum(tolerance(kind, one[:both]), 1e-12)).max())


KINDS: dict[str, Callable[[str], Numbers]] = {"2D": picture, "3D": scene}
FAST = ("sds", "bridge", "vsd")
"""Objectives of scenes that every test run tries; the others share all but the core with images."""
CASES = [
    pytest.param(kind, objective, marks=pytest.mark.slow if kind == "3D" and objective not in FAST else ())
    for kind, objective in itertools.product(KINDS, OBJECTIVES)
]


@pytest.fixture(scope="module")
def record() -> dict[str, dict[str, Numbers]]:
    return json.loads(RECORD.read_text())


@pytest.mark.parametrize("kind, objective", CASES)
def test_numbers_are_the_same(kind: str, objective: str, record: dict) -> None:
    made, recorded = KINDS[kind](objective), record[kind][objective]
    assert len(made) == len(recorded)
    assert apart(kind, recorded, made) <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_no_objective_passes_for_another(kind: str, record: dict) -> None:
    for one, other in itertools.combinations(OBJECTIVES, 2):
        assert apart(kind, record[kind][one], record[kind][other]) > 1, (one, other)


if __name__ == "__main__":
    lines = [
        f'"{kind}": {{\n' + ",\n".join(f'"{o}": {json.dumps(make(o))}' for o in OBJECTIVES) + "\n}"
        for kind, make in KINDS.items()
    ]
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n")
