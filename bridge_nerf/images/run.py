"""A run: a specification optimised in a folder, resumable at every moment."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from bridge_nerf.distillation.diagnostics import ERRORS
from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.errors import UserError, first_line
from bridge_nerf.files import Background, auxiliary, sweep, write_atomic, write_tensors
from bridge_nerf.images.folder import Result, earlier, names, note, provenance
from bridge_nerf.images.generation import Checkpoint, OnStep, Progress, generate
from bridge_nerf.images.image_files import file_hash, read_image, to_tensor
from bridge_nerf.images.spec import Spec
from bridge_nerf.interrupts import interruptible
from bridge_nerf.photometry import saturation
from bridge_nerf.pixels import enlarged, png, side_by_side, to_bytes, together, video
from bridge_nerf.reading import read_rows, read_tensors
from bridge_nerf.resuming import ForeignState

COLUMNS: tuple[str, ...] = ("step", "stage", "t", "loss", "pull", "gradient", "adapter", "saturation")
"""Columns of metrics.csv."""
ANEW = "remove it, and the run begins anew"
WITHOUT = "remove it, and the run goes on without the numbers so far"
FRAMES = "frames"
VIDEO, PAIRS = "video.mp4", "before-after.png"
"""Files that a run can do without; the second for paintings alone."""


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
        save_every: Steps from one checkpoint to the next.
        source: The image to start from; by default the file of the noted name in the current folder.

    Raises:
        UserError: The folder holds another run, the prior cannot read a prompt, or a gradient or an image is
            not finite.
    """
    spec, result = earlier(spec, folder)
    for place in (folder, folder / FRAMES):
        sweep(place)
    if result is not None and result.finished:
        _write_auxiliary(spec, folder, source)
        return result
    path, start = folder / "last.ckpt", starting_images(spec, source)
    checkpoints = [read_tensors(path, Checkpoint, ANEW)] if path.exists() else []
    if checkpoints and checkpoints[0].global_step > spec.config.steps:
        raise UserError(f"{path} is of step {checkpoints[0].global_step}, past the end of this run; {ANEW}")
    progresses = generate([spec], prior, start, checkpoints)
    try:
        progress = next(progresses)
    except ForeignState as error:
        raise UserError(f"{path} is of another run ({first_line(error)}); {ANEW}") from None
    note(spec, folder, done=0 if result is None else result.done)
    with interruptible() as interrupted, Background() as background:
        recorder = Recorder(folder, background, progress)
        for progress in progresses:
            recorder.record(progress)
            stop = (on_step is not None and on_step(progress) is False) or interrupted.is_set()
            if stop or progress.done % save_every == 0 or progress.done == progress.steps:
                background.wait()  # a run that goes on from here makes no earlier frame again
                write_tensors(path, vars(progress.checkpoints()[0]))
            if stop:
                break
    return _write_results(spec, folder, progress, source)


class Recorder:
    """Writer of frames/N.png (all images together) and metrics.csv, about every hundredth of the run.

    No run ends because one of them cannot be written, and none waits for it. Steps that measured the
    bridge's errors have a row in any case, in columns that other runs do not have.
    """

    def __init__(self, folder: Path, background: Background, first: Progress) -> None:
        self.folder, self.background = folder, background
        self.columns = COLUMNS + (ERRORS if first.modules[0].spec.config.guidance.errors_every else ())
        self.rows: list[dict[str, Any]] = []
        path = folder / "metrics.csv"
        if path.exists():  # a resumed run keeps the rows that came before its checkpoint
            self.rows += [row for row in read_rows(path, WITHOUT) if int(row["step"]) < first.done]
            if any(row.keys() != set(self.columns) for row in self.rows):
                raise UserError(f"{path} is the log of another run; {WITHOUT}")
        if first.done == 0:
            self._write_frame(first.images(), 0)

    def record(self, progress: Progress) -> None:
        """Note a step that has been made."""
        (metrics,) = progress.metrics
        if not progress.frame_due and not metrics.keys() & set(ERRORS):
            return
        images = progress.images() if progress.frame_due else None
        if images is not None:
            self._write_frame(images, progress.done)
        row = {name: metrics.get(name, "") for name in self.columns}
        self.background.write(self.folder / "metrics.csv", lambda: self._table(row, images))

    def _write_frame(self, images: Float[Tensor, "b 3 h w"], done: int) -> None:
        pixels = list(_pixels(images, done))  # here: where that cannot be done the run has to end
        self.background.write(self.folder / FRAMES / f"{done:06d}.png", lambda: png(together(pixels)))

    def _table(self, row: dict[str, Any], images: Float[Tensor, "b 3 h w"] | None) -> bytes:
        """All rows as CSV, with this one as the last."""
        if images is not None:
            row["saturation"] = saturation(images).mean().item()
        self.rows.append(row)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns)
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue().encode()


def starting_images(spec: Spec, source: Path | None = None) -> Float[Tensor, "b 3 h w"] | None:
    """The image that the specification starts from, for each subject; None where it starts from noise.

    Raises:
        UserError: The file is not there, no longer the same, or not an image.
    """
    if not spec.source:
        return None
    path = source or Path(spec.source)
    image = read_image(path)
    if file_hash(path) != spec.source_hash:
        raise UserError(f"{path} is not the image that this run began with; restore it or begin a new run")
    return to_tensor(image, spec.size).expand(len(spec.subjects), -1, -1, -1)


def _pixels(images: Float[Tensor, "b 3 h w"], done: int) -> UInt8[np.ndarray, "b h w 3"]:
    try:
        return to_bytes(images)
    except UserError as error:
        raise UserError(f"after {done} steps: {error}") from None


def _write_results(spec: Spec, folder: Path, progress: Progress, source: Path | None) -> Result:
    pixels = _pixels(progress.images(), progress.done)
    noted = provenance(spec, progress.done)
    for k, (path, image) in enumerate(zip(names(spec, folder), pixels, strict=True)):
        subject = spec.subjects[k]
        shown = {"prompt": " | ".join(subject.prompts), "seed": subject.seed, "index": k}
        write_atomic(path, png(image, noted | shown))
    # They show the images as they were. Should we be killed now, the next call makes what is not there.
    for name in (VIDEO, PAIRS):
        (folder / name).unlink(missing_ok=True)
    note(spec, folder, progress.done)  # after the images that it says are there
    _write_auxiliary(spec, folder, source)
    return Result(folder, names(spec, folder), progress.done, progress.done == spec.config.steps)


def _write_auxiliary(spec: Spec, folder: Path, source: Path | None) -> None:
    """Write the video and the pairs of a painting where they are missing, from what is in the folder."""
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
    return sorted((folder / FRAMES).glob("*.png"))
