"""Runs that are killed at any moment, or whose disk is full: what is there is whole, and the same command
goes on and ends as one that never stopped.

Each runs in a process that is forked off this one, so that the kills fall into its work and not into imports.
"""

from __future__ import annotations

import json
import random
import shlex
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from bridge_nerf import cli
from bridge_nerf.guidance.config import PriorConfig
from bridge_nerf.nerf.engine import checkpoint
from bridge_nerf.toybox.training import recipe
from bridge_nerf.toybox.training.fitting import fit
from tests.nerf import conftest as scenes
from tests.nerf.stub import StubPrior
from tests.robustness.processes import begin, end

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(sys.platform != "linux", reason="processes are forked"),
]
KILLS = 20
"""SIGKILLs for each kind of run."""


def killed(call: Callable[[], object], moment: float) -> bool:
    """Kill the call after so many seconds; False where it had ended, and well, before."""
    process, pipe = begin(call)
    process.join(moment)
    if process.exitcode is None:
        process.kill()
        process.join()
    if process.exitcode != -signal.SIGKILL:
        assert pipe.recv().code in (None, 0)
    return process.exitcode == -signal.SIGKILL


def bridge_nerf(*words: object) -> None:
    """Call `bridge-nerf` on the stub."""

    def load(config: PriorConfig, device: str | None = None) -> tuple[str, StubPrior]:
        return "stub", StubPrior()

    argv = ["bridge-nerf", *map(str, words)]
    with mock.patch.object(PriorConfig, "load", load), mock.patch.object(sys, "argv", argv):
        cli.main()


def image(out: Path) -> None:
    """Make two images."""
    bridge_nerf("image", "--prompt", "a ball", "--count", 2, "--steps", 120, "--out", out)


def compare(out: Path) -> None:
    """Compare two objectives."""
    bridge_nerf("compare", "--prompt", "a ball", "--objectives", "sds,bridge", "--steps", 60, "--out", out)


def batch(out: Path) -> None:
    """Make the images of six prompts."""
    prompts = out.with_name("prompts.txt")  # smaller than the smallest disk
    if not prompts.exists():
        prompts.write_text("".join(f"ball {k}\n" for k in range(6)))
    bridge_nerf("batch", prompts, "--steps", 40, "--out", out)


def train_toybox(out: Path) -> None:
    """Train the toybox's judge and prior, with a checkpoint at every step."""
    with mock.patch.object(recipe, "fit", partial(fit, save_every=1)):
        bridge_nerf("train-toybox", "--preset", "smoke", "--workers", 0, "--folder", out)


def scene(out: Path) -> None:
    """Train a scene, or go on by the command that the last run noted."""
    config = scenes.small_config(out)
    config.max_num_iterations, config.steps_per_save = SCENE_STEPS, 3
    config.steps_per_eval_image = config.steps_per_eval_all_images = 0
    config.pipeline.guidance.objective.stage_start = 10
    noted = sorted(out.glob("outputs/*/*/*/commands.txt"))
    words = shlex.split(scenes.noted(noted[-1].parent).get("resume", "")) if noted else []
    if words:
        flags = dict(pairwise(words))
        config.load_dir, config.load_step = Path(flags["--load-dir"]), int(flags["--load-step"])
        config.max_num_iterations = int(flags["--max-num-iterations"])
        # Killed after all steps: the command would make as many again.
        if config.load_step == SCENE_STEPS - 1:
            return
    number = len(list(out.glob("outputs/*/*/run-*")))
    with mock.patch("bridge_nerf.priors.registry.load_prior", lambda *_, **__: StubPrior()):
        scenes.train(config, f"run-{number:03d}")


SCENE_STEPS = 30
RUNS: dict[str, Callable[[Path], None]] = {
    "image": image,
    "compare": compare,
    "batch": batch,
    "train-toybox": train_toybox,
    "ns-train": scene,
}


def pixels(path: Path) -> bytes:
    """The pixels of an image and its size, without its note, in which commands differ."""
    with Image.open(path) as image:
        return repr(image.size).encode() + np.asarray(image).tobytes()


def results(out: Path) -> dict[str, Any]:
    """All that a finished run is for, by its file: pixels, numbers and weights."""
    made: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.suffix == ".png" and "turntable" not in name:
            made[name] = pixels(path)
        elif (path.name == "metrics.csv" and "training" not in name) or path.suffix == ".safetensors":
            made[name] = path.read_bytes()
    if ends := sorted(out.glob("outputs/*/*/*/nerfstudio_models")):
        state = checkpoint.read(checkpoint.latest(ends[-1]))
        made["step"] = state["step"]
        made |= {name: value.tolist() for name, value in state["pipeline"].items()}
    assert made, f"nothing in {out}"
    return made


def check_whole(out: Path) -> None:
    """Fail for a file that is torn."""
    for path in filter(Path.is_file, out.rglob("*")):
        if path.name.endswith(".unfinished"):
            continue
        if path.suffix == ".png":
            pixels(path)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix in (".ckpt", ".pt"):
            torch.load(path, map_location="cpu", weights_only=True)
        elif path.suffix == ".npz":
            with np.load(path) as file:
                assert all(file[name].size for name in file)
        elif path.suffix == ".safetensors":
            load_file(path)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[dict[str, Any], float]]:
    """Name in RUNS -> (its results, the seconds that it takes), measured once."""
    known: dict[str, tuple[dict[str, Any], float]] = {}

    def run(name: str) -> tuple[dict[str, Any], float]:
        if name not in known:
            out, start = tmp_path_factory.mktemp(name) / "out", time.monotonic()
            assert end(partial(RUNS[name], out)).code in (None, 0)
            known[name] = results(out), time.monotonic() - start
        return known[name]

    return run


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_never_was(
    unbroken: Callable[[str], tuple[dict[str, Any], float]], tmp_path: Path, name: str
) -> None:
    whole, seconds = unbroken(name)
    draw, kills, runs = random.Random(name), 0, 0
    while kills < KILLS:
        out, ended = tmp_path / f"{runs}" / "out", False
        out.parent.mkdir()
        while not ended and kills < KILLS:
            ended = not killed(partial(RUNS[name], out), draw.uniform(0, seconds))
            kills += not ended
            check_whole(out)
        if not ended:
            assert end(partial(RUNS[name], out)).code in (None, 0)
        assert results(out) == whole
        assert not list(out.rglob("*.unfinished"))
        runs += 1


@pytest.mark.parametrize("most", [100, 1_000, 4_000, 12_000, 50_000, 200_000, 1_000_000])
@pytest.mark.parametrize("name", RUNS)
def test_on_a_small_disk_a_command_fails_in_one_line_or_has_made_what_it_says(
    unbroken: Callable[[str], tuple[dict[str, Any], float]], tmp_path: Path, name: str, most: int
) -> None:
    whole, _ = unbroken(name)
    out = tmp_path / "out"
    code, said = end(partial(RUNS[name], out), most)
    check_whole(out)
    if code in (None, 0):
        assert results(out).items() >= {k: v for k, v in whole.items() if "/frames/" not in k}.items(), said
    else:
        assert isinstance(code, str) and "\n" not in code.strip() and "Traceback" not in said, code
    if name == "ns-train":
        return
    assert end(partial(RUNS[name], out)).code in (None, 0)
    assert results(out) == whole
