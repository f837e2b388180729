"""A run: a specification optimised in a folder, resumable at every moment."""

from __future__ import annotations

import itertools
import json
import logging
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
from jaxtyping import Float, UInt8
from lightning.pytorch.plugins.environments import LightningEnvironment
from PIL import Image
from torch import Tensor

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.errors import UserError
from bridge_nerf.files import video, write_whole
from bridge_nerf.images.callbacks import Checkpoints, OnStep, Record, Watch
from bridge_nerf.images.module import ImageModule, Progress
from bridge_nerf.images.noting import noted_command
from bridge_nerf.images.pictures import (
    enlarged,
    file_hash,
    png,
    read_picture,
    side_by_side,
    to_bytes,
    to_tensor,
)
from bridge_nerf.images.spec import Spec
from bridge_nerf.versions import version_of

PACKAGES = ("bridge_nerf", "torch", "lightning", "diffusers")


@dataclass(frozen=True)
class Result:
    """What a run has left in its folder."""

    folder: Path
    pictures: tuple[Path, ...]
    """One PNG for each subject."""
    done: int
    """Steps made."""
    finished: bool


def optimise_images(
    spec: Spec,
    folder: Path,
    prior: ImagePrior,
    on_step: OnStep | None = None,
    save_every: int = 50,
    source: Path | None = None,
) -> Result:
    """Optimise in the folder, from its checkpoint where there is one, and write the results.

    Pictures, video, numbers and (for painting) before and after are there at the end, and also when the run
    is ended early by `on_step` or Ctrl-C; the same call goes on. A finished run is not made again.

    Args:
        source: The picture to start from; by default the file of the noted name in the current folder.

    Raises:
        UserError: The folder holds another run, the prior cannot read a prompt, or a gradient is not finite.
    """
    result = earlier(spec, folder)
    if result is not None and result.finished:
        return result
    start = starting_pictures(spec, source)
    module = ImageModule(spec, prior, start)
    note(spec, folder, done=0 if result is None else result.done)
    checkpoint = folder / "last.ckpt"
    with interruptible() as interrupted:

        def look(progress: Progress) -> bool:
            wanted = on_step is None or on_step(progress) is not False
            return wanted and not interrupted.is_set()

        callbacks = [Record(folder), Watch(look), Checkpoints(checkpoint, save_every)]
        trainer = _trainer(prior, spec.recipe.steps, callbacks)
        with quiet():
            resumed = str(checkpoint) if checkpoint.exists() else None
            trainer.fit(module, itertools.repeat(0), ckpt_path=resumed, weights_only=True)
    return _write_results(module, folder, trainer.global_step, start)


def starting_pictures(spec: Spec, source: Path | None = None) -> Float[Tensor, "b 3 h w"] | None:
    """The picture that the specification starts from, for each subject; None where it starts from noise.

    Raises:
        UserError: The file is not there, no longer the same, or no picture.
    """
    if not spec.source:
        return None
    path = source or Path(spec.source)
    picture = read_picture(path)
    if file_hash(path) != spec.source_hash:
        raise UserError(f"{path} is not the picture that this run began with; restore it or begin a new run")
    return to_tensor(picture, spec.size).expand(len(spec.subjects), -1, -1, -1)


def earlier(spec: Spec, folder: Path) -> Result | None:
    """What an earlier call left in the folder; None where it is empty or not there.

    Raises:
        UserError: It holds something else.
    """
    path = folder / "run.json"
    if not path.exists():
        if folder.exists() and any(folder.iterdir()):
            raise UserError(f"{folder} holds something else; choose another --out")
        return None
    noted = json.loads(path.read_text())
    if Spec.from_json(json.dumps(noted["spec"])) != spec:
        raise UserError(f"{folder} holds another run; choose another --out")
    done = noted["done"]
    return Result(folder, names(spec, folder), done, done == spec.recipe.steps)


def names(spec: Spec, folder: Path) -> tuple[Path, ...]:
    """The files of the pictures, one for each subject."""
    same = len({subject.prompts for subject in spec.subjects}) == 1
    return tuple(
        folder / (f"picture-s{subject.seed}.png" if same else f"picture-{k:03d}.png")
        for k, subject in enumerate(spec.subjects)
    )


def provenance(spec: Spec, done: int) -> dict[str, Any]:
    """How something was made: specification, steps made, versions, command."""
    return {
        "spec": json.loads(spec.to_json()),
        "done": done,
        "versions": {name: version_of(name) for name in PACKAGES},
        "command": noted_command(sys.argv[1:]),
    }


def note(spec: Spec, folder: Path, done: int) -> None:
    """Write into the folder what is made there and how far it is."""
    write_whole(folder / "run.json", json.dumps(provenance(spec, done), indent=1).encode())


def _trainer(prior: ImagePrior, steps: int, callbacks: list[Any]) -> lightning.Trainer:
    with quiet():
        return lightning.Trainer(
            accelerator=prior.device.type,
            devices=[prior.device.index or 0] if prior.device.type == "cuda" else 1,
            max_steps=steps,
            max_epochs=-1,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            # Never a cluster's: many runs may share a SLURM job or a torchrun, each on its own.
            plugins=[LightningEnvironment()],
        )


def _write_results(
    module: ImageModule, folder: Path, done: int, before: Float[Tensor, "b 3 h w"] | None
) -> Result:
    spec = module.spec
    pixels = to_bytes(module.pictures())
    noted = provenance(spec, done)
    for k, (path, picture) in enumerate(zip(names(spec, folder), pixels, strict=True)):
        subject = spec.subjects[k]
        seen = {"prompt": " | ".join(subject.prompts), "seed": subject.seed, "index": k}
        write_whole(path, png(picture, noted | seen))
    if before is not None:
        pairs = [list(pair) for pair in zip(to_bytes(before), pixels, strict=True)]
        write_whole(folder / "before-after.png", png(side_by_side(pairs)))
    write_whole(folder / "video.mp4", video(np.stack([enlarged(frame) for frame in frames(folder)])))
    note(spec, folder, done)  # last: what says that all is there must not be there before
    return Result(folder, names(spec, folder), done, done == spec.recipe.steps)


def frames(folder: Path) -> list[UInt8[np.ndarray, "h w 3"]]:
    """The frames of a run, in the order in which they were made."""
    return [np.asarray(Image.open(path).convert("RGB")) for path in sorted((folder / "frames").glob("*.png"))]


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """The first Ctrl-C sets the event, so that no step is torn; the second one acts as ever."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.getsignal(signal.SIGINT)

    def noticed(number: int, frame: Any) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, noticed)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def quiet() -> Iterator[None]:
    """Without Lightning's notes on hardware and on loaders, which mean nothing here."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning.*")
        try:
            yield
        finally:
            logger.setLevel(level)
