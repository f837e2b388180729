"""Contact sheets of images."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor

from bridge_nerf.pixels import side_by_side, to_bytes

LABEL = 16
"""Pixels of the line above a row."""


def sheet(images: Float[Tensor, "n 3 h w"], columns: int) -> Image.Image:
    """Images (RGB in [0, 1]) row by row, `columns` a row."""
    return Image.fromarray(side_by_side(list(to_bytes(images.float())), columns, gap=0))


def encoded(image: Image.Image, ending: str) -> bytes:
    """The bytes of the image's file, in the format that such an ending stands for, as in ".png"."""
    buffer = io.BytesIO()
    image.save(buffer, Image.registered_extensions()[ending.lower()])
    return buffer.getvalue()


def labelled(rows: Mapping[str, Float[Tensor, "n 3 h w"]], columns: int) -> Image.Image:
    """Under each name a row of `columns` of its images, spread evenly, so that a turntable shows all sides.

    A row that has fewer ends early.
    """
    strips = []
    for name, images in rows.items():
        shown = np.linspace(0, len(images), min(columns, len(images)), endpoint=False).astype(int)
        strips.append((name, sheet(images[torch.from_numpy(shown)], columns)))
    size = max(s.width for _, s in strips), sum(LABEL + s.height for _, s in strips)
    image = Image.new("RGB", size, "white")
    draw, top = ImageDraw.Draw(image), 0
    for name, strip in strips:
        draw.text((2, top + 2), name, "black")
        image.paste(strip, (0, top + LABEL))
        top += LABEL + strip.height
    return image
