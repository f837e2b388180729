"""Training the judge on the world's pictures."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from bridge_nerf.toybox.captions import Scene
from bridge_nerf.toybox.dataset import Shard
from bridge_nerf.toybox.judge import FLAW_NAMES, Judge, judge_loss
from bridge_nerf.toybox.words import COLOURS, OBJECTS, VIEWS
from bridge_nerf.training.fitting import warm_hold_cool


def labels(scenes: tuple[Scene, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Class numbers of toy, colour (-1: its own) and view, and 0/1 for each flaw."""
    toys = torch.tensor([OBJECTS.index(s.toy) for s in scenes])
    colours = torch.tensor([list(COLOURS).index(s.colour) if s.colour else -1 for s in scenes])
    views = torch.tensor([VIEWS.index(s.view) for s in scenes])
    flaws = torch.tensor([[float(name in s.flaws) for name in FLAW_NAMES] for s in scenes])
    return toys, colours, views, flaws


def judge_loader(shard: Shard, batch: int, seed: int) -> DataLoader:
    """Shuffled batches of picture bytes and labels."""
    data = TensorDataset(shard.pictures, *labels(shard.scenes))
    return DataLoader(
        data, batch, shuffle=True, drop_last=True, generator=torch.Generator().manual_seed(seed)
    )


def jittered(x: Tensor) -> Tensor:
    """Mirrored and shifted a little, slightly other exposure: nothing that makes or hides a flaw."""
    if torch.rand(()) < 0.5:
        x = x.flip(-1)
    down, across = torch.randint(-4, 5, (2,)).tolist()
    x = torch.nn.functional.pad(x, (4, 4, 4, 4), mode="replicate")
    x = x[:, :, 4 + down : 4 + down + x.shape[-2] - 8, 4 + across : 4 + across + x.shape[-1] - 8]
    gain = 1 + 0.06 * torch.randn(len(x), 1, 1, 1, device=x.device)
    return (x * gain + 0.006 * torch.randn_like(x)).clamp(0, 1)


class JudgeModule(lightning.LightningModule):
    """Trains a judge; `max_steps` sets the learning rate's cool-down."""

    def __init__(self, judge: Judge, learning_rate: float, max_steps: int):
        super().__init__()
        self.judge, self.learning_rate, self.max_steps = judge, learning_rate, max_steps

    def training_step(self, batch: list[Any], _: int) -> Tensor:
        """The sum of the heads' losses on jittered pictures."""
        pictures: UInt8[Tensor, "n 3 h w"] = batch[0]
        loss = judge_loss(self.judge(jittered(pictures.float() / 255)), *batch[1:])
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW under a warm-up, a plateau and a linear cool-down."""
        optimiser = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=0.02)
        return warm_hold_cool(optimiser, self.max_steps)
