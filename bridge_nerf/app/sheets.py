"""Several images as one, with their titles.

Apart from the optimisation, whose libraries take long to import: the page needs this and should not wait.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from bridge_nerf.pixels import enlarged, side_by_side

COLUMNS = 2
"""Of a sheet: as many as a phone shows well."""
TITLE = 26
"""Pixels of the line under an image."""


def sheet(images: UInt8[np.ndarray, "n h w 3"], titles: Sequence[str]) -> UInt8[np.ndarray, "hh ww 3"]:
    """One image enlarged, or several in rows with their titles under them."""
    large = [enlarged(image) for image in images]
    if len(large) == 1:
        return large[0]
    framed = [_titled(image, title) for image, title in zip(large, titles, strict=True)]
    return side_by_side(framed, COLUMNS, gap=8)


def _titled(image: UInt8[np.ndarray, "h w 3"], title: str) -> UInt8[np.ndarray, "hh w 3"]:
    line = Image.new("RGB", (image.shape[1], TITLE), "white")
    font = ImageFont.load_default(size=17)
    ImageDraw.Draw(line).text((line.width / 2, TITLE / 2), title, "black", font, anchor="mm")
    return np.concatenate([image, np.asarray(line)])
