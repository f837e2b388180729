"""The toybox's commands: train it, measure it, draw from its prior."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import tyro

from bridge_nerf.distillation.config import SCALE
from bridge_nerf.errors import UserError
from bridge_nerf.flags import SEED, Range
from bridge_nerf.guidance.config import PriorConfig


@dataclass
class TrainToybox:
    """Train the toybox's prior and judge from nothing: images, autoencoder, diffusion, judge. Stopped runs
    resume.
    """

    folder: Path = Path("outputs/toybox")
    """Folder of checkpoints and results; the same folder resumes."""
    preset: Literal["cpu", "gpu", "fine", "smoke"] = "cpu"
    """Sizes and steps: cpu takes hours on 2 cores, gpu has not been run yet, smoke takes seconds and draws
    nothing. fine has twice as many latent channels, and is meant to go on from a prior with fewer that
    `--start` names; not run to its end yet.
    """
    part: Literal["all", "prior", "judge"] = "all"
    """Part to train."""
    seed: int = 0
    """Everything random follows from it."""
    devices: int = 1
    """Processes of the diffusion training."""
    workers: int | None = None
    """Processes that render images, and that prepare batches ahead of the training; by default all cores
    render, and all but one prepare batches for a GPU, none for a CPU. The result does not depend on it."""
    start: Path | None = None
    """Folder of an earlier prior to go on from; its autoencoder is kept, unless the preset has more latent
    channels."""

    def run(self) -> None:
        from bridge_nerf.devices import check_processes
        from bridge_nerf.toybox.training.recipe import named_preset, train_judge, train_prior

        check_processes(self.devices)
        check_processes(self.workers or 0, "workers")
        preset = named_preset(self.preset)
        if self.part == "judge" and (self.start is not None or self.devices != 1):
            raise UserError("--start and --devices are about the prior; leave them out with --part judge")
        if self.part in ("all", "judge"):
            print(f"judge: {train_judge(self.folder, preset, self.seed, workers=self.workers)}")
        if self.part in ("all", "prior"):
            folder = train_prior(
                self.folder,
                preset,
                self.seed,
                devices=self.devices,
                start=self.start,
                workers=self.workers,
            )
            print(f"prior: {folder}")


@dataclass
class EvaluateToybox:
    """Measure the toybox's figures, print them beside their goals, and write them as JSON.

    Scenes are kept, so that the same command goes on where it was stopped, and trains nothing where it was
    through.
    """

    RANGES: ClassVar[dict[str, Range]] = {"seeds": SEED, "processes": Range(1, 1024)}

    what: tuple[Literal["judge", "objects", "flaws", "held-out", "scenes"], ...] = (
        "judge",
        "objects",
        "flaws",
        "held-out",
        "scenes",
    )
    """Figures to measure; scenes, the last, trains a NeRF for each toy and seed: a minute or two each."""
    prior: PriorConfig = field(default_factory=lambda: PriorConfig("toybox"))
    """Folder of the prior, or toybox for the one that ships."""
    judge: Path | None = None
    """Folder of the judge; by default the one that ships."""
    toys: tuple[str, ...] = ()
    """Toys for scenes; all by default."""
    objectives: tuple[str, ...] = ("bridge",)
    """Objectives for scenes, one after the other; "all" is every one that needs no image to start from."""
    seeds: tuple[int, ...] = (42,)
    """Seeds for scenes: each toy is trained with every one."""
    processes: int = 1
    """Scenes trained at a time; from 2 on each in a process of its own with one thread."""
    out: Path = Path("outputs/toybox-figures")
    """Folder for figures.json; of scenes, their runs, kept views, scenes.json with the figures of each, and
    scenes.png with eight sides of each below the world's own."""

    def run(self) -> None:
        from bridge_nerf.devices import check_processes
        from bridge_nerf.evaluation.report import evaluate_toybox

        about_scenes = {
            "--toys": self.toys,
            "--objectives": self.objectives != ("bridge",),
            "--seeds": self.seeds != (42,),
            "--processes": self.processes != 1,
        }
        for flag, value in about_scenes.items():
            if value and "scenes" not in self.what:
                raise UserError(
                    f"{flag} is about scenes, which --what leaves out: add them, or leave {flag} out"
                )
        check_processes(self.processes, "processes")
        evaluate_toybox(**vars(self))


@dataclass
class SamplePrior:
    """Draw images from a prior by DDIM, as one contact sheet."""

    RANGES: ClassVar[dict[str, Range]] = {"steps": Range(1, 10_000), "guidance_scale": SCALE}

    prompts: tyro.conf.Positional[tuple[str, ...]]
    """Prompts to draw, one row each."""
    prior: PriorConfig = field(default_factory=lambda: PriorConfig("toybox"))
    """toybox, a folder or a hub id."""
    count: int = 8
    """Images a prompt."""
    steps: int = 50
    """Network calls an image."""
    guidance_scale: float = 4.0
    """Classifier-free guidance NULL + s (TARGET - NULL)."""
    seed: int = 0
    """Everything random follows from it."""
    out: Path = Path("outputs/samples.png")
    """File of the image."""

    def run(self) -> None:
        from bridge_nerf.evaluation.report import sample_sheet

        sample_sheet(**vars(self))
