"""Images from users, of any mode, size and aspect; PNGs that say how they were made."""

from __future__ import annotations

import hashlib
import io
import math
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from bridge_nerf.errors import UserError
from bridge_nerf.images.colours import as_srgb
from bridge_nerf.pixels import NOTE
from bridge_nerf.reading import parsed, read_bytes

MAX_PIXELS = 100_000_000
"""Maximum number of pixels of an image that is read."""
MAX_FILE_BYTES = 2**30
"""Maximum size of a file with an image."""
MAX_SIDE = 8192
"""Maximum height and width in pixels of an image that is made; no machine's memory holds more."""
HEIC = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis")
"""Brands in the header of a HEIC file."""
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM", "PSD")
"""What is read, by Pillow's names: strangers upload here, and some of its other decoders start programs (EPS,
WMF), read further files, or recognise nothing by its first bytes. "JPEG" brings MPO along.
"""
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
"""Formats in which further frames are an animation."""
ONE_IMAGE = ("MPO", "PSD")
"""Formats whose further frames are not separate images: a phone's second view, the layers of the first."""


@lru_cache
def say_once(line: str) -> None:
    """Print a line, unless it was printed before: an image is read several times on its way."""
    print(line, flush=True)


@lru_cache
def _formats() -> tuple[str, ...]:
    """The FORMATS that this build of Pillow can read."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def read_image(
    path: Path, max_pixels: int = MAX_PIXELS, say: Callable[[str], None] = say_once
) -> Image.Image:
    """The image in a file, upright (EXIF), as 8-bit sRGB; transparent parts become white.

    Args:
        max_pixels: Images with more pixels are refused before they are decoded.
        say: Takes a line on what had to be guessed or left out: range, profile, further pages.

    Raises:
        UserError: It is not an image, torn, animated, too large, or of a kind that Pillow cannot read.
    """
    data = read_bytes(path, MAX_FILE_BYTES)
    if not data:
        raise UserError(f"{path} is empty; give an image")
    try:
        # Pillow also warns, of sizes and of torn metadata; what is wrong is said in one line below.
        with warnings.catch_warnings(action="ignore"):
            image = Image.open(io.BytesIO(data), formats=_formats())
            if image.width * image.height > max_pixels:
                raise UserError(
                    f"{path} has {image.width} x {image.height} pixels; give one of at most {max_pixels:_}"
                )
            kind, frames = image.format, getattr(image, "n_frames", 1)
            if frames > 1 and kind in ANIMATED:
                raise UserError(f"{path} is animated ({frames} frames); save one frame")
            if frames > 1 and kind not in ONE_IMAGE:
                say(f"{path} has {frames} pages; the first is taken")
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return as_srgb(image, str(path), say)
    except Image.DecompressionBombError:
        raise UserError(f"{path} is too large; give an image of at most {max_pixels:_} pixels") from None
    except UnidentifiedImageError:
        if data[4:8] == b"ftyp" and data[8:12] in HEIC:
            raise UserError(f"{path} is a HEIC image, which cannot be read; save it as PNG or JPEG") from None
        raise UserError(f"{path} is not an image that can be read; give a PNG or JPEG") from None
    # What Pillow raises for torn files differs by format.
    except (OSError, SyntaxError, ValueError, TypeError, RuntimeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is damaged ({' '.join(str(error).split())}); get it again") from None


def fitting_size(width: int, height: int, side: int, multiple: int) -> tuple[int, int]:
    """The (height, width), in multiples, of about the aspect width : height and the area side x side.

    Raises:
        UserError: It would be longer than MAX_SIDE, or there is less than one multiple in `side`.
    """
    if side < multiple:
        raise UserError(
            f"size {side} is too small to start from an image with this prior; give {multiple} or more"
        )
    scale = side / math.sqrt(width * height)

    def near(length: int) -> int:
        return max(multiple, round(length * scale / multiple) * multiple)

    fitting = near(height), near(width)
    if max(fitting) > MAX_SIDE:
        raise UserError(
            f"an image of {width} x {height} would be {max(fitting)} pixels long at size {side}; crop it, "
            f"or give a smaller size, so that it is at most {MAX_SIDE}"
        )
    return fitting


def to_tensor(image: Image.Image, size: tuple[int, int]) -> Float[Tensor, "3 h w"]:
    """The image as RGB in [0, 1], resized to (height, width)."""
    height, width = size
    pixels = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS), dtype=np.float32)
    return torch.from_numpy(pixels / 255).permute(2, 0, 1).contiguous()


def note_in(path: Path) -> dict[str, Any]:
    """The note that `pixels.png` stored in a file.

    Raises:
        UserError: It is not an image, or was not made here.
    """
    read_image(path)
    try:
        with Image.open(io.BytesIO(read_bytes(path, MAX_FILE_BYTES)), formats=("PNG",)) as image:
            image.load()  # texts may also stand behind the pixels
            text = getattr(image, "text", {}).get(NOTE)
    except UnidentifiedImageError:  # another format, which has no such texts
        text = None
    if text is None:
        raise UserError(f"{path} does not say how it was made; give a PNG that bridge-nerf wrote")
    return parsed(dict[str, Any], str(text), f"what {path} says of how it was made", "give another PNG")


def file_hash(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal. UserError as for `read_bytes`."""
    return hashlib.sha256(read_bytes(path)).hexdigest()
