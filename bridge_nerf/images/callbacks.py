"""What happens beside the optimisation: frames and numbers on disk, checkpoints, someone who looks on."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
from jaxtyping import Float
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from bridge_nerf.distillation.diagnostics import ERRORS
from bridge_nerf.files import Background
from bridge_nerf.images.module import ImageModule, Progress
from bridge_nerf.photometry import saturation
from bridge_nerf.pixels import png, to_bytes, together

COLUMNS: tuple[str, ...] = ("step", "stage", "t", "loss", "pull", "gradient", "adapter", "saturation")
"""Of metrics.csv."""
FRAMES = 100
"""About as many frames does a run leave behind."""

OnStep = Callable[[Progress], bool | None]
"""Called after each step; False ends the run, which can be resumed."""


class AfterStep(Callback):
    """A callback that is told how many steps have been made."""

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        assert isinstance(pl_module, ImageModule)
        self.after_step(trainer, pl_module, trainer.global_step)

    def after_step(self, trainer: lightning.Trainer, module: ImageModule, done: int) -> None:
        """`done` steps have been made."""
        raise NotImplementedError


class Record(AfterStep):
    """A frame (all images together) and a row of numbers, now and then: `frames`/N.png and metrics.csv.

    No run ends because one of them cannot be written, and none waits for it: but a checkpoint does, so that
    what comes before it is not lost. Steps that measured the bridge's errors have a row in any case, in
    columns that other runs do not have.
    """

    def __init__(self, folder: Path, background: Background) -> None:
        self.folder, self.background = folder, background
        self.rows: list[dict[str, Any]] = []

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """A resumed run keeps the rows that came before its checkpoint."""
        assert isinstance(pl_module, ImageModule)
        path = self.folder / "metrics.csv"
        if path.exists():
            with path.open(newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["step"]) < trainer.global_step]
        if trainer.global_step == 0:
            self._frame(pl_module.images(), 0)

    def after_step(self, trainer: lightning.Trainer, module: ImageModule, done: int) -> None:
        recipe = module.spec.recipe
        due = done % max(1, recipe.steps // FRAMES) == 0 or done == recipe.steps
        if not due and not module.metrics.keys() & set(ERRORS):
            return
        images = module.images() if due else None
        if images is not None:
            self._frame(images, done)
        columns = COLUMNS + (ERRORS if recipe.errors_every else ())
        row = {name: module.metrics.get(name, "") for name in columns}
        self.background.write(self.folder / "metrics.csv", lambda: self._table(row, images))

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """A run that goes on from there makes no earlier frame again."""
        self.background.wait()

    def _frame(self, images: Float[Tensor, "b 3 h w"], done: int) -> None:
        pixels = list(to_bytes(images))  # here: where that cannot be done the run has to end
        self.background.write(self.folder / "frames" / f"{done:06d}.png", lambda: png(together(pixels)))

    def _table(self, row: dict[str, Any], images: Float[Tensor, "b 3 h w"] | None) -> bytes:
        """All rows as CSV, with this one as the last."""
        if images is not None:
            row["saturation"] = saturation(images).mean().item()
        self.rows.append(row)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(row))
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue().encode()


class Watch(AfterStep):
    """Tells whoever looks on, and ends the run when told to."""

    def __init__(self, on_step: OnStep) -> None:
        self.on_step = on_step

    def after_step(self, trainer: lightning.Trainer, module: ImageModule, done: int) -> None:
        progress = Progress(done, module.spec.recipe.steps, module.metrics, module)
        if self.on_step(progress) is False:
            trainer.should_stop = True


class Checkpoints(AfterStep):
    """The whole state every few steps and when the run is ended, in one file that is never torn."""

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every

    def after_step(self, trainer: lightning.Trainer, module: ImageModule, done: int) -> None:
        if done % self.every == 0 or trainer.should_stop or done == module.spec.recipe.steps:
            unfinished = self.path.with_suffix(".unfinished")
            trainer.save_checkpoint(unfinished)
            os.replace(unfinished, self.path)
