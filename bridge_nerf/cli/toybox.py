"""The toybox's commands: train it, measure it, draw from its prior."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from bridge_nerf.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass
class TrainToybox:
    """Train the toybox's prior and judge from nothing: images, autoencoder, diffusion, judge. Stopped runs
    resume.
    """

    folder: Path = Path("outputs/toybox")
    """Where checkpoints and results go; the same folder resumes."""
    preset: Literal["cpu", "gpu", "smoke"] = "cpu"
    """Sizes and steps: cpu takes hours on 2 cores, gpu has not been run yet, smoke takes seconds and draws
    nothing.
    """
    part: Literal["all", "prior", "judge"] = "all"
    """What to train."""
    seed: int = 0
    """Everything random follows from it."""
    devices: int = 1
    """Processes of the diffusion training."""
    workers: int | None = None
    """Processes that render images, and that prepare batches ahead of the training; by default all cores
    render, and all but one prepare batches for a GPU, none for a CPU. The result does not depend on it."""
    start: Path | None = None
    """Folder of an earlier prior to go on from; its autoencoder is kept."""

    def run(self) -> None:
        from bridge_nerf.toybox.training.recipe import named_preset, train_judge, train_prior

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
    """Measure the toybox's figures, print them beside their goals, and write them as JSON."""

    what: tuple[Literal["judge", "objects", "flaws", "held-out", "scenes"], ...] = (
        "judge",
        "objects",
        "flaws",
        "held-out",
        "scenes",
    )
    """Which figures; scenes, the last, trains a NeRF for each toy: a minute or two each."""
    prior: str = "toybox"
    """Folder of the prior, or toybox for the one that ships."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Precision of the prior's networks; auto depends on the machine."""
    judge: Path | None = None
    """Folder of the judge; by default the one that ships."""
    toys: tuple[str, ...] = ()
    """Which toys for scenes; all by default."""
    objectives: tuple[str, ...] = ("bridge",)
    """Methods for scenes, one after the other; "all" is every one that needs no image to start from."""
    out: Path = Path("outputs/toybox-figures")
    """Folder for figures.json, the scenes' runs, and scenes.png: eight sides of each, a row a scene."""

    def run(self) -> None:
        from bridge_nerf.evaluation.report import evaluate_toybox

        for flag, value in (("--toys", self.toys), ("--objectives", self.objectives != ("bridge",))):
            if value and "scenes" not in self.what:
                raise UserError(
                    f"{flag} is about scenes, which --what leaves out: add them, or leave {flag} out"
                )
        if "scenes" in self.what:  # so that what is missing is said before, not after, the other figures
            import_module("bridge_nerf.nerf.engine.headless")
        evaluate_toybox(self, self._scene)

    def _scene(self, prompt: str, objective: str) -> "Float[Tensor, 'n 3 h w']":
        # the folder beside the package, mapped into it at installation
        from bridge_nerf.method_configs.presets import (  # pyright: ignore[reportMissingImports]
            variant_config,
        )
        from bridge_nerf.nerf.engine.headless import optimise

        config = variant_config("bridge-distill", "toybox", objective)
        config.output_dir = self.out / "scenes"
        config.pipeline.model.prompt = prompt
        config.pipeline.objective = objective
        config.pipeline.prior, config.pipeline.prior_dtype = self.prior, self.dtype
        return optimise(config)


@dataclass
class SamplePrior:
    """Draw images from a prior by DDIM, as one contact sheet."""

    prompts: tyro.conf.Positional[tuple[str, ...]]
    """What to draw, one row each."""
    prior: str = "toybox"
    """toybox, a folder or a hub id."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Precision of the prior's networks; auto depends on the machine."""
    count: int = 8
    """Images a prompt."""
    steps: int = 50
    """Network calls an image."""
    guidance_scale: float = 4.0
    """Classifier-free guidance NULL + s (TARGET - NULL)."""
    seed: int = 0
    """Everything random follows from it."""
    out: Path = Path("outputs/samples.png")
    """The image's file."""

    def run(self) -> None:
        from bridge_nerf.evaluation.report import sample_sheet

        sample_sheet(self)
