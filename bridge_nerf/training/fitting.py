"""What every training run here shares: learning-rate course, resumable fit with an averaged copy of the
weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

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


def fit(
    module: lightning.LightningModule,
    loader: DataLoader,
    folder: Path,
    max_steps: int,
    accelerator: str = "auto",
    devices: int = 1,
    save_every: int = 200,
) -> None:
    """Train to `max_steps`, from `folder`/last.ckpt where there is one; the module ends with the averaged
    weights.

    bf16 mixed precision; the average of the weights looks back over about a twentieth of the run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / "last.ckpt"
    if last.exists():
        saved = torch.load(last, map_location="cpu", weights_only=False)
        if saved["global_step"] >= max_steps:  # Lightning would end at once, with the weights not averaged
            module.load_state_dict(saved["state_dict"])
            return
    average = EMAWeightAveraging(decay=max(0.5, 1 - 20 / max_steps), update_starting_at_step=max_steps // 20)
    trainer = lightning.Trainer(
        accelerator=accelerator,
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        max_steps=max_steps,
        precision="bf16-mixed",
        gradient_clip_val=1.0,
        logger=CSVLogger(folder, name="", version=""),
        log_every_n_steps=20,
        callbacks=[
            average,
            ModelCheckpoint(folder, save_last=True, save_top_k=0, every_n_train_steps=save_every),
            TQDMProgressBar(refresh_rate=20),
        ],
        enable_model_summary=False,
    )
    trainer.fit(module, loader, ckpt_path=last if last.exists() else None)
