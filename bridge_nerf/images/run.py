"""A run: a specification optimised in a folder, resumable at every moment."""

from __future__ import annotations

import itertools
import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import numpy as np
from jaxtyping import Float
from lightning.pytorch.plugins.environments import LightningEnvironment
from torch import Tensor

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.errors import UserError
from bridge_nerf.files import Background, auxiliary, write_atomic
from bridge_nerf.images.callbacks import Checkpoints, OnStep, Record, Watch
from bridge_nerf.images.folder import Result, earlier, names, note, provenance
from bridge_nerf.images.image_files import file_hash, read_image, to_tensor
from bridge_nerf.images.module import ImageModule, Progress
from bridge_nerf.images.spec import Spec
from bridge_nerf.pixels import enlarged, png, side_by_side, to_bytes, video

VIDEO, PAIRS = "video.mp4", "before-after.png"
"""What a run can do without; the second for paintings alone."""


def optimise_images(
    spec: Spec,
    folder: Path,
    prior: ImagePrior,
    on_step: OnStep | None = None,
    save_every: int = 50,
    source: Path | None = None,
) -> Result:
    """Optimise in the folder, from its checkpoint where there is one, and write the results.

    Images, video, numbers and (for painting) before and after are there at the end, and also when the run
    is ended early by `on_step` or Ctrl-C; the same call goes on. A finished run is not made again, but what
    it lacks beside its images is.

    Args:
        source: The image to start from; by default the file of the noted name in the current folder.

    Raises:
        UserError: The folder holds another run, the prior cannot read a prompt, or a gradient or an image is
            not finite.
    """
    spec, result = earlier(spec, folder)
    if result is not None and result.finished:
        _write_auxiliary(spec, folder, source)
        return result
    start = starting_images(spec, source)
    module = ImageModule(spec, prior, start)
    note(spec, folder, done=0 if result is None else result.done)
    checkpoint = folder / "last.ckpt"
    with interruptible() as interrupted, Background() as background:

        def look(progress: Progress) -> bool:
            wanted = on_step is None or on_step(progress) is not False
            return wanted and not interrupted.is_set()

        callbacks = [Record(folder, background), Watch(look), Checkpoints(checkpoint, save_every)]
        trainer = _trainer(prior, spec.recipe.steps, callbacks)
        with quiet():
            resumed = str(checkpoint) if checkpoint.exists() else None
            trainer.fit(module, itertools.repeat(0), ckpt_path=resumed, weights_only=True)
    module.to(prior.device)  # Lightning has left it in main memory
    return _write_results(module, folder, trainer.global_step, source)


def starting_images(spec: Spec, source: Path | None = None) -> Float[Tensor, "b 3 h w"] | None:
    """The image that the specification starts from, for each subject; None where it starts from noise.

    Raises:
        UserError: The file is not there, no longer the same, or no image.
    """
    if not spec.source:
        return None
    path = source or Path(spec.source)
    image = read_image(path)
    if file_hash(path) != spec.source_hash:
        raise UserError(f"{path} is not the image that this run began with; restore it or begin a new run")
    return to_tensor(image, spec.size).expand(len(spec.subjects), -1, -1, -1)


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


def _write_results(module: ImageModule, folder: Path, done: int, source: Path | None) -> Result:
    spec = module.spec
    pixels = to_bytes(module.images())
    noted = provenance(spec, done)
    for k, (path, image) in enumerate(zip(names(spec, folder), pixels, strict=True)):
        subject = spec.subjects[k]
        seen = {"prompt": " | ".join(subject.prompts), "seed": subject.seed, "index": k}
        write_atomic(path, png(image, noted | seen))
    # They show the images as they were. Should we be killed now, the next call makes what is not there.
    for name in (VIDEO, PAIRS):
        (folder / name).unlink(missing_ok=True)
    note(spec, folder, done)  # after the images: what says that they are there must not be there before
    _write_auxiliary(spec, folder, source)
    return Result(folder, names(spec, folder), done, done == spec.recipe.steps)


def _write_auxiliary(spec: Spec, folder: Path, source: Path | None) -> None:
    """The video and the pairs of a painting, where they are not there, from what else is in the folder."""
    film, pairs = folder / VIDEO, folder / PAIRS
    if not film.exists():
        with auxiliary(film):
            write_atomic(film, video(enlarged(np.asarray(read_image(path))) for path in frames(folder)))
    if spec.source and not pairs.exists():
        with auxiliary(pairs):
            before, after = starting_images(spec, source), map(read_image, names(spec, folder))
            assert before is not None
            both = zip(to_bytes(before), map(np.asarray, after), strict=True)
            write_atomic(pairs, png(side_by_side([image for pair in both for image in pair], columns=2)))


def frames(folder: Path) -> list[Path]:
    """The frames of a run, in the order in which they were made."""
    return sorted((folder / "frames").glob("*.png"))


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
