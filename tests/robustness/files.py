"""Real files of every kind that is read, made by runs as small as can be, and their readers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from nerfstudio.configs.base_config import writer  # before its module: they import each other
from PIL import Image
from torch.utils.data import Dataset

from bridge_nerf.app import gallery
from bridge_nerf.app.scenes import Scene, read_scenes, write_scenes
from bridge_nerf.cli.images import Reproduce
from bridge_nerf.errors import UserError
from bridge_nerf.evaluation import kept, samples
from bridge_nerf.evaluation.diagnostics import read_errors
from bridge_nerf.files import add_row, auxiliary
from bridge_nerf.guidance.config import PriorConfig
from bridge_nerf.images.batch import batch_of, read_prompts, run_batch
from bridge_nerf.images.folder import earlier, folder_of
from bridge_nerf.images.gallery import facts_of, write_gallery
from bridge_nerf.images.image_files import file_hash, read_image
from bridge_nerf.images.progress import Bar
from bridge_nerf.images.reproduce import noted_spec, other_versions, prior_of, source_of
from bridge_nerf.images.run import optimise_images
from bridge_nerf.priors import registry
from bridge_nerf.priors.inspection import inspect
from bridge_nerf.toybox.captions import Scene as Caption
from bridge_nerf.toybox.dataset import Shard
from bridge_nerf.toybox.judge import Judge
from bridge_nerf.toybox.training import recipe
from bridge_nerf.toybox.training.fitting import TrainedModule, fit
from tests.images.conftest import SPEC, changed
from tests.nerf import conftest as scenes
from tests.nerf.stub import StubPrior
from tests.priors.tiny import WORDS, build_tiny_pipeline
from tests.robustness import mutations
from tests.robustness.mutations import Damage

STEPS = 4
SHORT = replace(SPEC, config=changed(SPEC.config, steps=STEPS, stage_start=2, errors_every=1))
PAINTED = replace(SHORT, task="paint", prior="toybox", source="painting.png", weights=StubPrior().fingerprint)
KEPT = kept.Run("bridge", "duck", 1)


def stopped(progress: Any) -> bool:
    """End the run at the first step that it makes."""
    return False


def painting(folder: Path) -> None:
    """Make an image that begins with a painting, and the painting beside it."""
    Image.new("RGB", (16, 16), (200, 30, 20)).save(folder / "painting.png")
    spec = replace(PAINTED, source_hash=file_hash(folder / "painting.png"))
    run = optimise_images(spec, folder / "run", StubPrior(), source=folder / "painting.png")
    run.images[0].rename(folder / "picture.png")


def image(folder: Path, done: int = STEPS) -> None:
    """Make a run of `bridge-nerf image`, or begin it."""
    optimise_images(SHORT, folder, StubPrior(), lambda progress: progress.done < done)


def batch(folder: Path) -> None:
    """Make a batch of one."""
    specs = batch_of(["a ball"], SHORT, 0, folder)
    run_batch(specs, StubPrior())
    (made,) = specs
    made.rename(folder / "item")


def texts(folder: Path) -> None:
    """Write what people write."""
    (folder / "prompts.txt").write_text("a ball\n# a note\na red ball # round\n")


def scene(folder: Path) -> None:
    """Make a run of `ns-train`."""
    trained = train_scene(small_scene(folder), "run")
    trained.base_dir.rename(folder / "run")


def small_scene(folder: Path) -> Any:
    """The configuration of a run of 3 steps."""
    config = scenes.small_config(folder)
    config.max_num_iterations, config.turntable_frames, config.pipeline.guidance.errors_every = 3, 2, 1
    config.pipeline.guidance.objective.stage_start = 2
    return config


def train_scene(config: Any, timestamp: str) -> Any:
    """Train with the stub for a prior."""
    try:
        with mock.patch("bridge_nerf.priors.registry.load_prior", lambda *_, **__: StubPrior()):
            return scenes.train(config, timestamp)
    finally:  # nerfstudio keeps its log writers in module globals
        writer.EVENT_WRITERS.clear()
        writer.EVENT_STORAGE.clear()
        writer.GLOBAL_BUFFER.clear()


def gallery_of_scenes(folder: Path) -> None:
    """Make a gallery of two scenes."""
    some = [Scene("a duck", "ns-train", f"a-duck-{k}.mp4", f"a-duck-{k}.webp") for k in range(2)]
    write_scenes(folder, some)
    for name in (name for scene in some for name in scene.files):
        (folder / name).touch()


class Line(TrainedModule):
    """A training of two numbers."""

    def __init__(self) -> None:
        super().__init__(partial(torch.optim.AdamW, lr=0.1), 2)
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: Any, *_: Any) -> torch.Tensor:
        return self.layer(batch).square().mean()


class Ones(Dataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, visit: Any) -> torch.Tensor:
        return torch.ones(1)


def train_line(folder: Path, steps: int = 2) -> None:
    """Train a line, in the folder."""
    fit(Line(), Ones(), 2, 0, folder, steps, "cpu", workers=0)


def toybox(folder: Path) -> None:
    """Make every file of `train-toybox`, and a kept scene."""
    scenes = tuple(
        Caption("duck", None, "front view", "white", frozenset(flaws)) for flaws in ((), ("blurry", "foggy"))
    )
    Shard(torch.zeros(2, 3, 64, 64, dtype=torch.uint8), scenes).save(folder / "pictures.npz")
    Judge().save(folder / "judge")
    recipe.claim(folder, "prior-run", seed=0, renders=40, channels=(1, 2), start=None)
    train_line(folder / "line")
    keeper(folder).write(KEPT, kept.Scene(torch.zeros(2, 3, 4, 4), 1.0))


def keeper(folder: Path) -> kept.KeptScenes:
    """The kept scenes in a folder."""
    return kept.KeptScenes(folder / "views", {KEPT: {"version": "1", "prior": "toybox"}})


def sampled(folder: Path) -> None:
    """Measure an image, and rename what was kept of it."""
    read_samples(folder)


def read_samples(folder: Path) -> object:
    """Measure an image, or read what was kept of it."""
    options = samples.TableOptions(1, 1, 0, folder)
    return samples.generated(SHORT, StubPrior(), SHORT.subjects, options).images


def pipeline(folder: Path) -> None:
    """Make a tiny pipeline of Diffusers."""
    build_tiny_pipeline(folder, words=WORDS, image_size=16)


MAKERS: dict[str, Callable[[Path], None]] = {
    "painting": painting,
    "finished": image,
    "begun": partial(image, done=2),
    "batch": batch,
    "texts": texts,
    "scene": scene,
    "gallery": gallery_of_scenes,
    "toybox": toybox,
    "samples": sampled,
    "pipeline": pipeline,
}
"""Folder -> what fills it."""


@dataclass(frozen=True)
class Reader:
    """A file that is read, and how: `read` takes the folder."""

    place: str
    """Folder, as in MAKERS, and file."""
    read: Callable[[Path], object]
    damage: Damage
    cases: int
    """Damaged files in the fast tests."""

    @property
    def made(self) -> str:
        return self.place.split("/")[0]

    @property
    def file(self) -> str:
        return self.place.partition("/")[2]


def noted(folder: Path) -> object:
    """All that `reproduce` reads of an image before it begins."""
    path = folder / "picture.png"
    spec, note = noted_spec(path)
    assert 0 <= note.index < len(spec.subjects) and 0 <= note.done <= spec.config.steps
    return spec, other_versions(note), prior_of(path), source_of(path)


def reproduced(folder: Path) -> object:
    """One step of `bridge-nerf reproduce`, which may write into the folder of its run alone."""

    def load(config: PriorConfig, device: str | None = None) -> tuple[str, StubPrior]:
        name, _ = config.resolve(device)
        assert name == "toybox", f"{name} would be loaded unasked"
        return name, StubPrior()

    before = set(folder.rglob("*"))
    command = Reproduce(file=folder / "picture.png", out=folder / "again")
    with mock.patch.object(PriorConfig, "load", load), mock.patch.object(Bar, "of", lambda *_: stopped):
        try:
            command.run()
        except UserError as error:
            if "stopped" not in str(error):
                raise
    for path in set(folder.rglob("*")) - before:
        assert path.is_dir() or OF_A_RUN.fullmatch(str(path.relative_to(folder))), path
    return command


OF_A_RUN = re.compile(
    r"again/[a-z0-9-]+/(picture-s?\d+\.png|run\.json|metrics\.csv|last\.ckpt|video\.mp4|before-after\.png"
    r"|frames/\d+\.png)"
)


def resumed(folder: Path) -> object:
    """One step more of a run."""
    return optimise_images(SHORT, folder, StubPrior(), stopped)


def again(folder: Path) -> object:
    """The finished run, with its video made anew."""
    (folder / "video.mp4").unlink()
    return optimise_images(SHORT, folder, StubPrior(), stopped)


def recognised(folder: Path) -> object:
    """The run in a folder, by its specification and by its name."""
    folder.rename(other := folder.with_name(SHORT.name.removesuffix(SHORT.digest) + "01234567"))
    try:
        found = folder_of(SHORT, folder.parent)
    finally:
        other.rename(folder)
    return found, earlier(SHORT, folder)


def shown(folder: Path) -> object:
    """The page and the manifest of a batch."""
    facts = facts_of([folder / "item"])
    write_gallery([folder / "item"], folder)
    return facts


def more_errors(folder: Path) -> object:
    """The log of a run, and a row more."""
    path = folder / "run" / "errors.csv"
    with auxiliary(path):
        add_row(path, {"step": 2, "mismatch_null": 1.0})
    return read_errors(folder / "run")


def resumed_scene(folder: Path) -> object:
    """One step more of a run of `ns-train`."""
    config = small_scene(folder)
    config.load_dir, config.max_num_iterations = folder / "run", 1
    config.steps_per_eval_image = config.steps_per_eval_all_images = 0
    return train_scene(config, "resumed")


def loaded(folder: Path) -> object:
    """The prior in a folder."""
    return registry.kind_of(str(folder)), registry.load_prior(str(folder), "cpu").embed(["a red apple"])


def looked_at(folder: Path) -> object:
    """A pipeline's folder, without its networks."""
    registry.check_words(str(folder), ["a red apple"])
    return registry.resolve_prior(str(folder), "cpu"), inspect(folder)


def single(folder: Path) -> object:
    """A single file in the place of a prior."""
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.rename(moved := folder.parent / "model.safetensors")
    try:
        return registry.resolve_prior(str(moved), "cpu")
    finally:
        moved.rename(path)


UNET = "unet/diffusion_pytorch_model.safetensors"
READERS: dict[str, Reader] = {
    "the note of an image": Reader("painting/picture.png", noted, mutations.noted_pngs, 50),
    "an image made again": Reader("painting/picture.png", reproduced, mutations.noted_pngs, 12),
    "a painting": Reader(
        "painting/painting.png", lambda folder: read_image(folder / "painting.png"), mutations.pngs, 60
    ),
    "run.json": Reader("finished/run.json", recognised, mutations.json_files, 60),
    "metrics.csv, resumed": Reader("begun/metrics.csv", resumed, mutations.csv_files, 4),
    "metrics.csv, plotted": Reader("finished/metrics.csv", read_errors, mutations.csv_files, 60),
    "last.ckpt": Reader("begun/last.ckpt", resumed, mutations.checkpoints, 8),
    "a frame": Reader("finished/frames/000000.png", again, mutations.pngs, 8),
    "item.json": Reader("batch/item/item.json", shown, mutations.json_files, 60),
    "prompts": Reader(
        "texts/prompts.txt", lambda folder: read_prompts(folder / "prompts.txt"), mutations.lines, 50
    ),
    "a checkpoint of a scene": Reader(
        "scene/run/nerfstudio_models/step-000000002.ckpt", resumed_scene, mutations.checkpoints, 8
    ),
    "errors.csv": Reader("scene/run/errors.csv", more_errors, mutations.csv_files, 50),
    "commands.txt": Reader(
        "scene/run/commands.txt",
        lambda folder: gallery.make((folder / "run",), folder / "gallery"),
        mutations.lines,
        8,
    ),
    "a turntable": Reader(
        "scene/run/turntable.mp4",
        lambda folder: gallery.make((folder / "run",), folder / "gallery"),
        mutations.torn,
        15,
    ),
    "scenes.json": Reader("gallery/scenes.json", read_scenes, mutations.json_files, 60),
    "images of the toybox": Reader(
        "toybox/pictures.npz",
        lambda folder: recipe.shard_of(folder, "pictures", 0, 1),
        mutations.archives,
        50,
    ),
    "the judge": Reader(
        "toybox/judge/model.safetensors",
        lambda folder: Judge.load(folder / "judge"),
        mutations.tensor_files,
        20,
    ),
    "the note of a training": Reader(
        "toybox/prior-run.json",
        lambda folder: recipe.claim(folder, "prior-run", seed=0, renders=40, channels=(1, 2), start=None),
        mutations.json_files,
        40,
    ),
    "a checkpoint of a training": Reader(
        "toybox/line/last.ckpt", lambda folder: train_line(folder / "line", 3), mutations.checkpoints, 10
    ),
    "a finished training": Reader(
        "toybox/line/last.ckpt", lambda folder: train_line(folder / "line"), mutations.checkpoints, 40
    ),
    "a kept scene": Reader(
        f"toybox/views/{KEPT.stem}.npz", lambda folder: keeper(folder).read(KEPT), mutations.archives, 50
    ),
    "a kept image": Reader("samples/*.npz", read_samples, mutations.archives, 40),
    "words.json": Reader("pipeline/words.json", looked_at, mutations.json_files, 40),
    "model_index.json": Reader("pipeline/model_index.json", looked_at, mutations.json_files, 40),
    "a tokenizer": Reader("pipeline/tokenizer/tokenizer.json", looked_at, mutations.json_files, 20),
    "a header of weights": Reader(f"pipeline/{UNET}", looked_at, mutations.tensor_files, 30),
    "a single file": Reader(f"pipeline/{UNET}", single, mutations.tensor_files, 30),
    "weights": Reader(f"pipeline/{UNET}", loaded, mutations.tensor_files, 3),
    "the settings of a network": Reader("pipeline/unet/config.json", loaded, mutations.json_files, 3),
    "the settings of an autoencoder": Reader("pipeline/vae/config.json", loaded, mutations.json_files, 3),
    "the settings of words": Reader("pipeline/text_encoder/config.json", loaded, mutations.json_files, 3),
    "the settings of a schedule": Reader(
        "pipeline/scheduler/scheduler_config.json", loaded, mutations.json_files, 3
    ),
}
