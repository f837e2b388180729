"""The judge: a small classifier that says what a toybox image shows, trained on the world's own images
only.

It never sees an image made by the prior, so that it can judge them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from bridge_nerf.errors import UserError
from bridge_nerf.reading import read_bytes
from bridge_nerf.toybox.words import COLOURS, FLAWS, OBJECTS, VIEWS

FLAW_NAMES = (*FLAWS, "painting")
"""Outputs of the flaw head, in order."""
SIZE = 64
"""Pixels a side of the images that the judge was trained on; others are resized to it."""


@dataclass(frozen=True)
class Verdict:
    """Logits for n images; a flaw is seen where its logit is positive, an image is clean where none is
    seen.
    """

    toy: Float[Tensor, "n toys"]
    colour: Float[Tensor, "n colours"]
    view: Float[Tensor, "n views"]
    flaws: Float[Tensor, "n flaws"]

    @property
    def toys(self) -> list[str]:
        """The most likely toy of each image."""
        return [OBJECTS[k] for k in self.toy.argmax(-1).tolist()]

    @property
    def colours(self) -> list[str]:
        """The most likely colour of each image (meaningful for toys whose colour varies)."""
        return [list(COLOURS)[k] for k in self.colour.argmax(-1).tolist()]

    @property
    def views(self) -> list[str]:
        """The most likely view word of each image."""
        return [VIEWS[k] for k in self.view.argmax(-1).tolist()]

    @property
    def clean(self) -> Float[Tensor, "n"]:
        """Probability that no flaw is there, flaws taken as independent."""
        return torch.sigmoid(-self.flaws).prod(-1)

    def sees(self, flaw: str) -> Bool[Tensor, "n"]:
        """True where the named flaw (or "painting") is seen; ValueError for another word."""
        return self.flaws[:, FLAW_NAMES.index(flaw)] > 0


class Judge(nn.Module):
    """Four halvings, a residual block after each but the first, averaged to `width` features, four linear
    heads.
    """

    def __init__(self, channels: tuple[int, ...] = (24, 48, 96, 160)):
        super().__init__()
        steps, before = [], 3
        for width in channels:
            steps += [
                nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            if before > 3:
                steps.append(Residual(width))
            before = width
        self.trunk = nn.Sequential(*steps)
        self.sizes = (len(OBJECTS), len(COLOURS), len(VIEWS), len(FLAW_NAMES))
        self.heads = nn.Linear(before, sum(self.sizes))

    def spatial_features(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n width 4 4"]:
        """Features on a grid of 4 x 4, so that they know left from right; images are RGB in [0, 1]."""
        if images.shape[-1] != SIZE:
            images = F.interpolate(images, size=(SIZE, SIZE), mode="bilinear", antialias=True)
        return self.trunk(images * 2 - 1)

    def features(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n width"]:
        """Pooled features, for Frechet distances; images are RGB in [0, 1]."""
        return self.spatial_features(images).mean((2, 3))

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Verdict:
        """The verdict on images, RGB in [0, 1]."""
        return Verdict(*self.heads(self.features(images)).float().split(self.sizes, dim=-1))

    def save(self, folder: Path) -> None:
        """Write the weights in half precision to `folder`/model.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {k: v.half() if v.is_floating_point() else v for k, v in self.state_dict().items()}
        save_file({k: v.contiguous() for k, v in state.items()}, folder / "model.safetensors")

    @classmethod
    def load(cls, folder: Path) -> Judge:
        """The judge stored in `folder`, frozen. UserError where there is none, or it is damaged."""
        path = folder / "model.safetensors"
        if not path.is_file():
            raise UserError(f"no judge at {path}; train one with: bridge-nerf train-toybox --part judge")
        judge = cls()
        try:
            state = {k: v.float() if v.is_floating_point() else v for k, v in load(read_bytes(path)).items()}
            judge.load_state_dict(state)
            if odd := [name for name, value in state.items() if not torch.isfinite(value).all()]:
                raise RuntimeError(f"{odd[0]} is not finite")
        except (SafetensorError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{path} is not a judge, or damaged ({reason}); train one anew or install again"
            ) from error
        return judge.eval().requires_grad_(False)


class Residual(nn.Module):
    """x + norm(conv(x)), rectified."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return F.relu(x + self.norm(self.conv(x)))


def judge_loss(
    verdict: Verdict,
    toy: Int[Tensor, "n"],
    colour: Int[Tensor, "n"],
    view: Int[Tensor, "n"],
    flaws: Float[Tensor, "n flaws"],
) -> Float[Tensor, ""]:
    """Sum of the heads' cross-entropies; colour -1 stands for "has its own" and does not count."""
    return (
        F.cross_entropy(verdict.toy, toy)
        + F.cross_entropy(verdict.colour, colour, ignore_index=-1)
        + 0.5 * F.cross_entropy(verdict.view, view)
        + F.binary_cross_entropy_with_logits(verdict.flaws, flaws) * len(FLAW_NAMES)
    )
