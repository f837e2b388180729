"""What every training run here shares: learning-rate course, batches and noise as functions of the step, and
a resumable fit with an averaged copy of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.environments import LightningEnvironment
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset, Sampler

from bridge_nerf.errors import UserError
from bridge_nerf.seeding import generator

Draw = tuple[int, np.random.Generator]
"""What a dataset here is asked for: the number of a picture, and the randomness of this visit."""

WARM_UP, COOL_DOWN = 0.01, 0.35
"""Shares of a run in which the learning rate rises and falls linearly; between them it holds, so that a run
resumed with more steps repeats nothing."""


def course(step: int, max_steps: int) -> float:
    """The learning rate's factor in [0, 1] at a step."""
    return max(
        0.0, min(1.0, (step + 1) / (WARM_UP * max_steps), (max_steps - step) / (COOL_DOWN * max_steps))
    )


def warm_hold_cool(optimiser: torch.optim.Optimizer, max_steps: int) -> dict[str, Any]:
    """Lightning's optimiser entry with `course` as its schedule, stepped every batch."""
    schedule = LambdaLR(optimiser, lambda step: course(step, max_steps))
    return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class StepBatches(Sampler[list[Draw]]):
    """Without end: the batch of step k is a function of (seed, rank, k), from step `start` on.

    It has no length: Lightning counts the batches of a resumed run from the first one, and would stop early.
    """

    def __init__(self, pictures: int, batch: int, seed: int, start: int, rank: Callable[[], int]):
        self.pictures, self.batch, self.seed, self.start, self.rank = pictures, batch, seed, start, rank

    def __iter__(self) -> Iterator[list[Draw]]:
        step = self.start
        while True:
            r = np.random.default_rng([self.seed, self.rank(), step])
            chosen = r.integers(self.pictures, size=self.batch).tolist()
            yield list(zip(chosen, r.spawn(self.batch), strict=True))
            step += 1


class StepSeed(Callback):
    """Torch's noise of step k is a function of (seed, rank, k) too."""

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_batch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Reseed."""
        draws = generator(self.seed, "training", trainer.global_rank, trainer.global_step)
        torch.manual_seed(draws.initial_seed())


class Finite(Callback):
    """Ends a training whose loss is not finite before that reaches the weights, or a checkpoint."""

    def on_before_backward(self, trainer: lightning.Trainer, _: Any, loss: torch.Tensor) -> None:
        """UserError with the step."""
        if not torch.isfinite(loss).all():
            raise UserError(
                f"training step {trainer.global_step}: the loss is {loss.item()}; checkpoints from before "
                "are kept, try another seed or a lower learning rate in a new folder"
            )


def fit(
    module: lightning.LightningModule,
    data: Dataset,
    batch: int,
    seed: int,
    folder: Path,
    max_steps: int,
    accelerator: str = "auto",
    devices: int = 1,
    save_every: int = 200,
) -> None:
    """Train to `max_steps`, from `folder`/last.ckpt where there is one; the module ends with the averaged
    weights.

    A stopped and resumed run ends, on a CPU, as one that never stopped. `data` answers a `Draw`, and collates
    where it has a `collate`. bf16 mixed precision; the average of the weights looks back over about a
    twentieth of the run. Raises UserError at a step whose loss is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    last, start = folder / "last.ckpt", 0
    if last.exists():
        saved = torch.load(last, map_location="cpu", weights_only=False)
        start = saved["global_step"]
        if start >= max_steps:  # Lightning would end at once, with the weights not averaged
            module.load_state_dict(saved["state_dict"])
            return
    average = EMAWeightAveraging(decay=max(0.5, 1 - 20 / max_steps), update_starting_at_step=max_steps // 20)
    trainer = lightning.Trainer(
        accelerator=accelerator,
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        # It starts its processes itself, also where it is one task of a SLURM job.
        plugins=[LightningEnvironment()],
        max_steps=max_steps,
        precision="bf16-mixed",
        gradient_clip_val=1.0,
        logger=CSVLogger(folder, name="", version=""),
        log_every_n_steps=20,
        callbacks=[
            average,
            StepSeed(seed),
            Finite(),
            ModelCheckpoint(folder, save_last=True, save_top_k=0, every_n_train_steps=save_every),
            TQDMProgressBar(refresh_rate=20),
        ],
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    count = len(data)  # pyright: ignore[reportArgumentType]
    batches = StepBatches(count, batch, seed, start, lambda: trainer.global_rank)
    loader = DataLoader(data, batch_sampler=batches, collate_fn=getattr(data, "collate", None))
    trainer.fit(module, loader, ckpt_path=last if last.exists() else None)
