"""The paper's flaws and a painterly filter, as true corruptions of a clean image.

Each filter maps RGB in [0, 1] ([3, h, w]) to the same, with a strength in [0, 1]. A flaw changes only what it
names: oversaturation keeps the luma, fog and haze veil, and so on. "bad structure" is a flaw of the toy
itself (`objects.build`), every other one is applied here. Sizes are in pixels of a 64-pixel image and grow
with the image.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.photometry import gaussian, luma

Image = Float[Tensor, "3 h w"]


def _box(x: Tensor, radius: int) -> Tensor:
    padded = F.pad(x[None], (radius,) * 4, mode="replicate")
    return F.avg_pool2d(padded, 2 * radius + 1, 1)[0]


def _field(r: np.random.Generator, channels: int, cells: int, size: int) -> Tensor:
    """Smooth random field of standard deviation near 1: Gaussian noise on cells x cells, interpolated."""
    coarse = torch.tensor(r.normal(size=(1, channels, cells, cells)), dtype=torch.float32)
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)[0]


def oversaturated(x: Image, strength: float, r: np.random.Generator) -> Image:
    """Chroma stretched about the luma, as far as each pixel's gamut allows at the same luma."""
    y = luma(x)
    chroma = (x - y) * (1.8 + 2.2 * strength)
    room = torch.where(chroma > 0, (1 - y) / chroma.clamp_min(1e-4), y / (-chroma).clamp_min(1e-4)).amin(
        0, keepdim=True
    )
    return (y + chroma * room.clamp_max(1)).clamp(0, 1)


def smooth(x: Image, strength: float, r: np.random.Generator) -> Image:
    """Guided filter of the image by itself: texture goes, edges stay."""
    radius, floor = 3 * x.shape[-1] // 64, 0.004 + 0.010 * strength
    guide = luma(x)
    mean = _box(guide, radius)
    variance = _box(guide * guide, radius) - mean**2
    slope = (_box(x * guide, radius) - _box(x, radius) * mean) / (variance + floor)
    return (_box(slope, radius) * guide + _box(_box(x, radius) - slope * mean, radius)).clamp(0, 1)


def pixelated(x: Image, strength: float, r: np.random.Generator) -> Image:
    """Blocks of 4 or 8 pixels."""
    block = (8 if strength > 0.5 else 4) * x.shape[-1] // 64
    return F.interpolate(F.avg_pool2d(x[None], block), scale_factor=float(block), mode="nearest")[0]


def cartoon(x: Image, strength: float, r: np.random.Generator) -> Image:
    """Few flat tones and dark outlines."""
    soft = gaussian(x, 0.7 * x.shape[-1] / 64)
    levels = 5 - round(2 * strength)
    tone = luma(soft)
    flat = soft * ((tone * levels).round() / levels).clamp_min(0.04) / tone.clamp_min(0.04)
    down, across = soft[:, 1:, :-1] - soft[:, :-1, :-1], soft[:, :-1, 1:] - soft[:, :-1, :-1]
    edge = F.pad((down.abs() + across.abs()).amax(0)[None, None], (0, 1, 0, 1), mode="replicate")[0]
    return flat.clamp(0, 1) * (1 - ((edge - 0.12) * 8).clamp(0, 1))


def foggy(x: Image, strength: float, r: np.random.Generator) -> Image:
    """White banks of fog, thicker here and there."""
    bank = torch.sigmoid(1.6 * _field(r, 1, 4, x.shape[-1]) + 0.3)
    thick = (0.45 + 0.4 * strength) * (0.45 + 0.75 * bank)
    return x + (0.92 - x) * thick.clamp(0, 0.95)


def hazy(x: Image, strength: float, r: np.random.Generator) -> Image:
    """An even yellowish-grey veil that lowers contrast."""
    veil = x.new_tensor((0.80, 0.77, 0.68))[:, None, None]
    return x + (veil - x) * (0.45 + 0.25 * strength)


def blurry(x: Image, strength: float, r: np.random.Generator) -> Image:
    """Gaussian blur of 1.6 to 3 pixels."""
    return gaussian(x, (1.6 + 1.4 * strength) * x.shape[-1] / 64)


def noisy(x: Image, strength: float, r: np.random.Generator) -> Image:
    """Film grain about two pixels wide."""
    grain = gaussian(torch.tensor(r.normal(size=x.shape), dtype=x.dtype), 0.8 * x.shape[-1] / 64)
    return (x + grain / grain.std() * (0.06 + 0.07 * strength)).clamp(0, 1)


def malformed(x: Image, strength: float, r: np.random.Generator) -> Image:
    """The image drawn on rubber: a smooth random displacement, standard deviation three to five pixels."""
    size = x.shape[-1]
    line = torch.linspace(-1, 1, size)
    y, across = torch.meshgrid(line, line, indexing="ij")
    shift = _field(r, 2, 6, size) * (0.09 + 0.06 * strength)
    grid = torch.stack([across + shift[0], y + shift[1]], -1)[None]
    return F.grid_sample(x[None], grid, padding_mode="border", align_corners=True)[0]


def painted(x: Image, strength: float, r: np.random.Generator) -> Image:
    """Oil paint: Kuwahara's filter (the calmest of four windows), brush streaks, canvas."""
    size, radius = x.shape[-1], 2 * x.shape[-1] // 64
    window = radius + 1
    padded = F.pad(x[None], (radius,) * 4, mode="replicate")
    mean = F.avg_pool2d(padded, window, 1)
    spread = (F.avg_pool2d(padded**2, window, 1) - mean**2).sum(1, keepdim=True)
    corners = [(i, j) for i in (0, radius) for j in (0, radius)]
    means = torch.stack([mean[0, :, i : i + size, j : j + size] for i, j in corners])
    spreads = torch.stack([spread[0, :, i : i + size, j : j + size] for i, j in corners])
    calm = means.gather(0, spreads.argmin(0, keepdim=True).expand(1, 3, size, size))[0]
    streaks = _streaks(r, size)
    tint = _field(r, 3, 8, size) * 0.02
    return (calm * (1 + (0.08 + 0.08 * strength) * streaks) + tint).clamp(0, 1)


def _streaks(r: np.random.Generator, size: int) -> Tensor:
    """Diagonal strokes about 2 pixels thin and 8 long, in [-1, 1]."""
    noise = torch.tensor(r.normal(size=(1, size // 2, size // 2)), dtype=torch.float32)
    lean = (1, -1)[r.integers(2)]
    rolled = torch.stack([torch.roll(noise, (k, lean * k), (1, 2)) for k in range(5)]).sum(0)
    strokes = F.interpolate(rolled[None], size=(size, size), mode="bilinear", align_corners=False)[0]
    return (strokes / 2.2).tanh()


FILTERS: dict[str, Callable[[Tensor, float, np.random.Generator], Tensor]] = {
    "painting": painted,
    "malformed": malformed,
    "smooth": smooth,
    "cartoon": cartoon,
    "oversaturated": oversaturated,
    "blurry": blurry,
    "pixelated": pixelated,
    "foggy": foggy,
    "hazy": hazy,
    "noisy": noisy,
}
"""Filters in the order in which several are applied: shape first, surface next, air and sensor last."""


def corrupt(
    image: Float[Tensor, "3 h w"], flaws: frozenset[str], strength: float, r: np.random.Generator
) -> Float[Tensor, "3 h w"]:
    """The image with the named flaws (and "painting") at one strength; unknown names raise KeyError."""
    for name in flaws - FILTERS.keys() - {"bad structure"}:
        raise KeyError(name)
    for name, flaw in FILTERS.items():
        if name in flaws:
            image = flaw(image, strength, r)
    return image
