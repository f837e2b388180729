"""Images on the pretended card: a step's devices, copies and waits; the commands as a user gives them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bridge_nerf import cli
from bridge_nerf.app.snapshots import snapshots
from bridge_nerf.distillation.config import ObjectiveConfig
from bridge_nerf.distillation.registry import OBJECTIVES, stages_for
from bridge_nerf.guidance.config import GuidanceConfig, PromptConfig
from bridge_nerf.images.batch import run_batch
from bridge_nerf.images.config import ImageConfig
from bridge_nerf.images.generation import Progress, generate
from bridge_nerf.images.run import optimise_images
from bridge_nerf.images.spec import Spec, subjects_for
from bridge_nerf.priors.registry import load_prior
from tests.card.memory import Ledger, on_card

Folders = Mapping[str, Path]
Bridge = Callable[..., None]

BUDGETS = {"bridge": (2, 10), "vsd": (4, 12)}
"""Copies to the card and waits for it that a step of one image may ask for, at most: t and noise go there,
those of the adapter too; its numbers, which are shown and written at every step, come back."""
GUIDANCE = GuidanceConfig(PromptConfig("sharp", "blurry"), ObjectiveConfig(stage_start=2, ode_steps=2))
CONFIG = ImageConfig(GUIDANCE, steps=4, learning_rate=0.1)
SPEC = Spec(subjects_for(("a red apple",), 3, 1), "./sd-eps", "bridge", CONFIG, (16, 16))


@pytest.fixture
def bridge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, card: Ledger) -> Bridge:
    """bridge-nerf, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> None:
        monkeypatch.setattr(sys, "argv", ["bridge-nerf", *map(str, words)])
        cli.main()

    return run


OPTIONS = ("--prior", "toybox", "--prior.dtype", "float32", "--steps", 4)


def course_of(folders: Folders, objective: str, canvas: str) -> Generator[Progress, None, None]:
    """An image of its own size, painted over where the objective edits."""
    prior = load_prior(str(folders["sd-eps"]), "cuda", torch.float32)
    side, edits = prior.image_size, stages_for(objective).edits
    task = "paint" if edits else "image"
    config = replace(CONFIG, canvas=canvas)
    spec = replace(SPEC, objective=objective, config=config, task=task, size=(side, side))
    return generate([spec], prior, torch.rand(1, 3, side, side) if edits else None)


@pytest.mark.slow
@pytest.mark.parametrize("canvas", ["latents", "pixels", "network"])
def test_a_step_of_each_objective(card: Ledger, folders: Folders, canvas: str) -> None:
    for objective in OBJECTIVES:
        if canvas == "network" and stages_for(objective).edits:
            continue
        course = course_of(folders, objective, canvas)
        (module,) = next(course).modules
        assert all(map(on_card, module.parameters()))
        for _ in range(3 if canvas == "latents" else 1):
            next(course)
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        assert gradients and all(map(on_card, gradients)), objective
        assert not on_card(module.images())


@pytest.mark.parametrize("objective", BUDGETS)
def test_a_step_is_within_its_budget(card: Ledger, folders: Folders, objective: str) -> None:
    course = course_of(folders, objective, "latents")
    for _ in range(2):  # the state at the beginning, and a first step
        next(course)
    with card.counted() as tally:
        next(course)
    copies, waits = BUDGETS[objective]
    assert tally.copies.total() <= copies and tally.waits.total() <= waits, tally.table("copies", "waits")


def test_image(bridge: Bridge, tmp_path: Path) -> None:
    bridge("image", "--prompt", "a red apple", *OPTIONS)
    (run,) = (tmp_path / "outputs/images").iterdir()
    names = {path.name for path in run.iterdir()}
    assert {"picture-s0.png", "metrics.csv", "video.mp4", "run.json"} <= names


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["image", "--prompt", "a red apple", "--count", "2", "--objective", "vsd"],
        ["image", "--prompt", "a red apple", "--canvas", "network"],
        ["paint", "--input", "painting.png", "--prompt", "a red apple"],
        ["illusion", "--prompt", "a red apple", "--prompt", "a blue car", "--view", "mirror"],
        ["compare", "--prompt", "a red apple", "--objectives", "sds,bridge,vsd"],
        ["batch", "prompts.txt"],
    ],
    ids=lambda command: command[0],
)
def test_a_command_and_again(
    bridge: Bridge, tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prompts.txt").write_text("a red apple\na blue car\n")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "painting.png")

    def images() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (tmp_path / "outputs").rglob("picture*.png")}

    bridge(*command, *OPTIONS)
    made = images()
    assert made
    bridge(*command, *OPTIONS)
    assert images() == made


@pytest.mark.slow
def test_an_image_is_reproduced(bridge: Bridge, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bridge("image", "--prompt", "a red apple", *OPTIONS)
    (image,) = tmp_path.rglob("picture-s0.png")
    bridge("reproduce", image)
    assert "identical" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["bridge", "vsd"])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    card: Ledger, folders: Folders, tmp_path: Path, objective: str
) -> None:
    spec = replace(SPEC, objective=objective)
    prior = load_prior(str(folders["sd-eps"]), "cuda", torch.float32)
    whole = optimise_images(spec, tmp_path / "whole", prior)
    stopped = optimise_images(spec, tmp_path / "run", prior, lambda progress: progress.done < 2)
    assert not stopped.finished
    resumed = optimise_images(spec, tmp_path / "run", prior)
    assert resumed.finished and (resumed.folder / "frames").is_dir()
    for name in ("metrics.csv", "frames/000004.png"):
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_the_farm_makes_an_item(card: Ledger, folders: Folders, tmp_path: Path) -> None:
    folder = tmp_path / "items" / SPEC.name
    prior = load_prior(str(folders["sd-eps"]), "cuda", torch.float32)
    assert run_batch({folder: SPEC}, prior) == [folder] and folder.exists()


def test_the_app_compares(card: Ledger, folders: Folders) -> None:
    """In this thread: the studio's own thread would not see the card."""
    prior = load_prior(str(folders["sd-eps"]), "cuda", torch.float32)
    made = list(snapshots([SPEC, replace(SPEC, objective="sds")], prior))
    assert made[-1].done == 4 and made[-1].images.shape == (2, 16, 16, 3)
