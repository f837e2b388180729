"""Images as 8-bit pixels: rounded, enlarged, in rows, as a video. All that is shown goes through here."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from torch import Tensor

from bridge_nerf.errors import UserError

MAX_SIDE, MAX_AREA = 4096, 36864 * 256
"""Pixels of the largest frame of a video. The area is that of H.264's level 5.1, which players know, and
needs about 1 GiB to encode; libx264 itself refuses sides of more than 16384."""

FRAMES_PER_SECOND = 24
"""Frames of a film in a second."""
NOTE = "bridge_nerf"
"""Key of the PNG text that says how an image was made."""


def to_bytes(images: Float[Tensor, "b 3 h w"]) -> UInt8[np.ndarray, "b h w 3"]:
    """8-bit pixels of RGB in [0, 1].

    Raises:
        UserError: A number is not finite; it would come out black, as if it were part of the image.
    """
    whole = torch.isfinite(images).flatten(1).all(1)
    if not whole.all():
        raise UserError(
            f"{(~whole).sum().item()} of {len(whole)} images hold numbers that are not finite (NaN), "
            "and are not drawn; lower the learning rate or the guidance"
        )
    return rounded(images.permute(0, 2, 3, 1))


def rounded(values: Float[Tensor, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """The nearest 8-bit numbers to values in [0, 1]."""
    return (values * 255).round().byte().cpu().numpy()


def png(pixels: UInt8[np.ndarray, "h w c"], note: dict[str, Any] | None = None) -> bytes:
    """A lossless PNG of RGB or RGBA; `note` is stored in it as JSON."""
    info = PngImagePlugin.PngInfo()
    if note is not None:
        info.add_itxt(NOTE, json.dumps(note))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png", pnginfo=info)
    return buffer.getvalue()


def side_by_side(
    images: Sequence[UInt8[np.ndarray, "h w 3"]], columns: int, gap: int = 4
) -> UInt8[np.ndarray, "hh ww 3"]:
    """Images of one size in rows of `columns`, on white, with a gap between them."""
    h, w = images[0].shape[:2]
    rows, columns = -(-len(images) // columns), min(columns, len(images))
    sheet = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), 255, np.uint8)
    for k, pixels in enumerate(images):
        top, left = k // columns * (h + gap), k % columns * (w + gap)
        sheet[top : top + h, left : left + w] = pixels
    return sheet


def titled(pixels: UInt8[np.ndarray, "h w 3"], title: str, height: int = 16) -> UInt8[np.ndarray, "hh w 3"]:
    """The image under a line of text of this height in pixels."""
    line = Image.new("RGB", (pixels.shape[1], height), "white")
    font = ImageFont.load_default(size=round(0.65 * height))
    ImageDraw.Draw(line).text((2, 2), title, "black", font)
    return np.concatenate([np.asarray(line), pixels])


def together(images: Sequence[UInt8[np.ndarray, "h w 3"]]) -> UInt8[np.ndarray, "hh ww 3"]:
    """All images in rows, about twice as wide as high, and made smaller where no video could hold that."""
    h, w = images[0].shape[:2]
    rows = min(len(images), max(1, round((len(images) * w / h / 2) ** 0.5)))
    sheet = side_by_side(images, -(-len(images) // rows))
    height, width = fitting(*sheet.shape[:2])
    if (height, width) == sheet.shape[:2]:
        return sheet
    return np.asarray(Image.fromarray(sheet).resize((width, height), Image.Resampling.BOX))


def fitting(height: int, width: int) -> tuple[int, int]:
    """The size, or the largest of about its aspect that a frame of a video can have; no side is 0."""
    scale = min(1.0, MAX_SIDE / max(height, width), (MAX_AREA / (height * width)) ** 0.5)
    return max(1, round(height * scale)), max(1, round(width * scale))


def enlarged(pixels: UInt8[np.ndarray, "h w 3"], least: int = 256) -> UInt8[np.ndarray, "hh ww 3"]:
    """Pixels enlarged to squares until no side is below `least`, within the largest frame of a video."""
    factor = max(1, min(-(-least // min(pixels.shape[:2])), MAX_SIDE // max(pixels.shape[:2])))
    return pixels.repeat(factor, 0).repeat(factor, 1)


def video(images: Iterable[UInt8[np.ndarray, "h w 3"]], frames_per_second: int = FRAMES_PER_SECOND) -> bytes:
    """An mp4 (H.264) of the images, encoded without any program outside Python.

    Images of any size: all are brought to that of the first, or to what H.264 can hold (`fitting`). An odd
    last row or column is there twice, for H.264 wants both sides even.

    Raises:
        ValueError: There are no images.
    """
    import av

    buffer, size = io.BytesIO(), None
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(frames_per_second), options={"crf": "18"})
        for image in images:
            h, w = image.shape[:2]
            whole = np.pad(image, ((0, h % 2), (0, w % 2), (0, 0)), "edge")
            if size is None:
                size = [side + side % 2 for side in fitting(*whole.shape[:2])]
                stream.height, stream.width = size
                stream.pix_fmt = "yuv420p"
            frame = av.VideoFrame.from_ndarray(whole, format="rgb24")
            container.mux(stream.encode(frame.reformat(width=size[1], height=size[0])))
        if size is None:
            raise ValueError("there are no frames")
        container.mux(stream.encode())
    return buffer.getvalue()
