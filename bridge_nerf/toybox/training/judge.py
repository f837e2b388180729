"""Training the judge on the world's images."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from bridge_nerf.toybox.captions import Scene, random_flaws
from bridge_nerf.toybox.dataset import Shard, flaw_strength
from bridge_nerf.toybox.flaws import corrupt
from bridge_nerf.toybox.judge import FLAW_NAMES, Judge, judge_loss
from bridge_nerf.toybox.training.fitting import TrainedModule, Visit
from bridge_nerf.toybox.words import COLOURS, OBJECTS, VIEWS


def labels(scenes: tuple[Scene, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Class numbers of toy, colour (-1: its own) and view, and 0/1 for each flaw."""
    toys = torch.tensor([OBJECTS.index(s.toy) for s in scenes])
    colours = torch.tensor([list(COLOURS).index(s.colour) if s.colour else -1 for s in scenes])
    views = torch.tensor([VIEWS.index(s.view) for s in scenes])
    flaws = torch.tensor([[float(name in s.flaws) for name in FLAW_NAMES] for s in scenes])
    return toys, colours, views, flaws


class JudgeImages(Dataset):
    """Images and their labels; half of the visits to a clean image give it fresh flaws.

    Flaws are rare in the world, and a judge that meets each flawed image again and again learns them by
    heart.
    """

    def __init__(self, shard: Shard):
        self.shard = shard

    def __len__(self) -> int:
        return len(self.shard)

    def __getitem__(self, visit: Visit) -> tuple[Float[Tensor, "3 h w"], Scene]:
        k, r = visit
        image, scene = self.shard.images[k].float() / 255, self.shard.scenes[k]
        if scene.flaws or r.random() < 0.5:
            return image, scene
        while not (flaws := random_flaws(r) - {"bad structure"}):
            pass
        return corrupt(image, flaws, flaw_strength(flaws, r), r), replace(scene, flaws=flaws)

    def collate(self, items: list[tuple[Tensor, Scene]]) -> list[Tensor]:
        """Images in [0, 1] [b, 3, h, w], then `labels`."""
        images, scenes = zip(*items, strict=True)
        return [torch.stack(images), *labels(scenes)]


def jittered(x: Tensor) -> Tensor:
    """Mirrored and shifted a little, slightly other exposure: nothing that makes or hides a flaw."""
    if torch.rand(()) < 0.5:
        x = x.flip(-1)
    down, across = torch.randint(-4, 5, (2,)).tolist()
    x = torch.nn.functional.pad(x, (4, 4, 4, 4), mode="replicate")
    x = x[:, :, 4 + down : 4 + down + x.shape[-2] - 8, 4 + across : 4 + across + x.shape[-1] - 8]
    gain = 1 + 0.06 * torch.randn(len(x), 1, 1, 1, device=x.device)
    return (x * gain + 0.006 * torch.randn_like(x)).clamp(0, 1)


class JudgeModule(TrainedModule):
    """Training of a judge."""

    def __init__(self, judge: Judge, learning_rate: float, max_steps: int):
        super().__init__(partial(torch.optim.AdamW, lr=learning_rate, weight_decay=0.02), max_steps)
        self.judge = judge

    def training_step(self, batch: list[Any], _: int) -> Tensor:
        """The sum of the heads' losses on jittered images."""
        loss = judge_loss(self.judge(jittered(batch[0])), *batch[1:])
        self.log("loss", loss, prog_bar=True)
        return loss
