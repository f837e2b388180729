"""The 2D commands: text to image, painting to real, illusions, and what surrounds them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from bridge_nerf.errors import UserError
from bridge_nerf.guidance.config import PriorConfig
from bridge_nerf.images.options import ImageOptions

if TYPE_CHECKING:
    from bridge_nerf.images.config import Task

Transform = Literal["90", "180", "270", "mirror", "flip"]


@dataclass(kw_only=True)
class WithObjective(ImageOptions):
    """The numbers of an optimisation by one objective."""

    objective: str = "bridge"
    """Objective: "bridge" is the paper's two stages, "sds" its first alone; an unknown one lists them all."""


@dataclass(kw_only=True)
class OneRun(WithObjective):
    """An optimisation in a folder of its own."""

    out: Path = Path("outputs/images")
    """Parent of the run's folder."""

    def _optimise(
        self,
        task: Task,
        prompts: tuple[str, ...],
        count: int = 1,
        transforms: tuple[str, ...] = ("0",),
        source: Path | None = None,
    ) -> None:
        from bridge_nerf.images.folder import folder_of
        from bridge_nerf.images.progress import Bar
        from bridge_nerf.images.run import PAIRS, VIDEO, optimise_images

        spec, prior = self.load(task, self.objective, prompts, count, transforms, source)
        folder = folder_of(spec, self.out)
        with Bar() as bar:
            result = optimise_images(spec, folder, prior, on_step=bar.of("optimising"), source=source)
        for path in result.images:
            print(path)
        if not result.finished:
            raise UserError(
                f"stopped after step {result.done} of {spec.config.steps}; the same command goes on"
            )
        beside = [name for name in (VIDEO, PAIRS, "metrics.csv") if (folder / name).exists()]
        print(f"{folder}: {', '.join(['images', *beside])}")


@dataclass(kw_only=True)
class Image(OneRun):
    """Text to image by optimisation: images, a video and numbers in a folder of their own."""

    prompt: str
    """Text of what to make."""
    count: int = 1
    """Images, with seeds from --seed on, made as one batch."""

    def run(self) -> None:
        self._optimise("image", (self.prompt,), self.count)


@dataclass(kw_only=True)
class Paint(OneRun):
    """Painting to real: begins with your image, and takes it from "painting" to what the prompt says."""

    input: Path
    """The painting; any size, mode and aspect."""
    prompt: str
    """Text of what it shows."""

    def run(self) -> None:
        from bridge_nerf.images.image_files import read_image

        read_image(self.input)  # before the seconds that a prior takes
        self._optimise("paint", (self.prompt,), source=self.input)


@dataclass(kw_only=True)
class Illusion(OneRun):
    """One image that reads as one thing upright and as another one turned."""

    prompt: Annotated[tuple[str, ...], tyro.conf.UseAppendAction]
    """Text of what to read; give it twice: upright first, then turned."""
    transform: Transform = "180"
    """Turn: degrees counterclockwise, mirrored left to right, or flipped upside down."""
    count: int = 1
    """Images, with seeds from --seed on."""

    def run(self) -> None:
        if len(self.prompt) != 2:
            raise UserError(
                f"an illusion needs --prompt twice, got {len(self.prompt)}; upright first, then turned"
            )
        self._optimise("illusion", self.prompt, self.count, ("0", self.transform))


@dataclass(kw_only=True)
class Compare(ImageOptions):
    """Several objectives from one seed, with the same t and noise in every step, side by side."""

    prompt: str
    """Text of what to make."""
    objectives: str = "sds,bridge,vsd"
    """Objectives, separated by commas."""
    out: Path = Path("outputs/compare")
    """Parent of the comparison's folder."""

    def run(self) -> None:
        from bridge_nerf.images.compare import compare
        from bridge_nerf.images.progress import Bar
        from bridge_nerf.images.spec import slug, subjects_for

        names = list(dict.fromkeys(name.strip() for name in self.objectives.split(",") if name.strip()))
        if not names:
            raise UserError("no objectives to compare; give some, as in --objectives sds,bridge")
        self.check({"image": names}, [self.prompt])
        subjects = subjects_for((self.prompt,), self.seed, 1)
        resolved, prior = self.prior.load()
        specs = {name: self.spec(resolved, prior, "image", name, subjects) for name in names}
        folder = self.out / f"{slug(self.prompt)}-s{self.seed}-{slug(self.objectives)}"
        with Bar() as bar:
            results = compare(specs, folder, prior, observer=bar.of)
        if not all(result.finished for result in results):
            raise UserError(f"stopped during {list(specs)[len(results) - 1]}; the same command goes on")
        there = [name for name in ("video.mp4", "grid.png") if (folder / name).exists()]
        print(f"{folder}: {', '.join([*there, 'a folder for each objective'])}")


@dataclass(kw_only=True)
class Batch(WithObjective):
    """Many prompts from a text file; several workers may share the folder, killed ones lose nothing.

    Start it as often as you like, on any number of machines that see the folder, by hand, srun or torchrun.
    """

    prompts: tyro.conf.Positional[Path]
    """A text with a prompt a line."""
    out: Path = Path("outputs/batch")
    """Folder for all results; the same folder goes on."""
    devices: int = 1
    """Workers that this command is, on this machine; each takes a GPU of its own, where there are any."""

    def run(self) -> None:
        from bridge_nerf.cli.helpers import helpers
        from bridge_nerf.devices import check_processes
        from bridge_nerf.guidance.distiller import requested_slots
        from bridge_nerf.guidance.prompts import slot_texts
        from bridge_nerf.images.batch import batch_of, read_prompts, run_batch
        from bridge_nerf.images.gallery import write_gallery
        from bridge_nerf.images.spec import Subject

        prompts = read_prompts(self.prompts)
        if self.config.guidance.errors_every:
            raise UserError("--errors-every writes into the folder of a single run: use it with image")
        if self.devices > 1 and self.prior.device is not None:
            raise UserError(f"--prior.device {self.prior.device} is for one worker: leave --devices out")
        self.check({"image": [self.objective]}, prompts)
        check_processes(self.devices)
        name, prior = self.prior.load()
        pattern = self.spec(name, prior, "image", self.objective, [Subject((prompts[0],), self.seed)])
        # Each item would find out by itself, after those before it have been made.
        guidance = pattern.config.guidance
        slots = requested_slots(self.objective, guidance)
        texts = [slot_texts(prompt, guidance.prompts) for prompt in prompts]
        read = [text for row in texts for slot, text in row.items() if slot in slots and text]
        prior.check_prompts([*prompts, *read])
        specs = batch_of(prompts, pattern, self.seed, self.out)
        try:
            with helpers(self.devices - 1):
                made = run_batch(specs, prior)
        finally:
            write_gallery(list(specs), self.out)
        there = [name for name in ("index.html", "manifest.jsonl", "items") if (self.out / name).exists()]
        print(f"made {len(made)} of {len(specs)} here; {self.out}: {', '.join(there)}")


@dataclass(kw_only=True)
class Reproduce:
    """Make an image once more from the note in it, and compare."""

    file: tyro.conf.Positional[Path]
    """A PNG that bridge-nerf wrote."""
    input: Path | None = None
    """The painting that it began with; by default looked for by its name, beside the PNG and here."""
    prior: str | None = None
    """The prior, as for the other commands; by default the one noted, a folder looked for in the same way."""
    allow_download: bool = False
    """Download the noted prior from the hub, where it is not in the cache."""
    out: Path = Path("outputs/reproduced")
    """Parent of the run's folder."""

    def run(self) -> None:
        from bridge_nerf.images.progress import Bar
        from bridge_nerf.images.reproduce import (
            noted_spec,
            other_versions,
            prior_of,
            reproduce,
            source_of,
        )
        from bridge_nerf.images.run import starting_images

        spec, note = noted_spec(self.file)
        if other := other_versions(note):
            print(f"made with other versions ({'; '.join(other)}): pixels may differ")
        if self.input is not None and not spec.source:
            raise UserError(f"{self.file} did not begin with an image; leave --input out")
        source = source_of(self.file) if self.input is None else self.input
        starting_images(spec, source)  # before the seconds that a prior takes
        precision: Any = spec.precision or "auto"
        name = self.prior or prior_of(self.file, self.allow_download)
        print(
            f"{note.done} steps of {len(spec.subjects)} x {spec.size[1]} x {spec.size[0]} pixels", flush=True
        )
        _, prior = PriorConfig(name, dtype=precision).load()
        if not spec.weights_known:
            print(f"made by an earlier version: whether {spec.prior} has the same weights now cannot be told")
        elif prior.fingerprint != spec.weights:
            print(f"{spec.prior} has other weights now: pixels will differ")
        with Bar() as bar:
            again, difference = reproduce(self.file, self.out, prior, bar.of("again"), source)
        if difference is None:
            raise UserError("stopped; the same command goes on")
        same = "identical" if difference == 0 else f"differs by up to {difference} of 255"
        print(f"{again}: {same}")
