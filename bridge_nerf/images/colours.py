"""Conversion of the modes, ranges and colour profiles of image files to 8-bit sRGB on white."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from bridge_nerf.errors import UserError

WHITES = {"I": (255, 65535), "F": (1, 255, 65535)}
"""Mode -> the values that may be white: the first that no pixel exceeds."""
OVERSHOOT = 0.05
"""Share of white by which resampling may exceed white and black, which is clipped."""
DEEP = ("PNG", "PPM")
"""Formats whose gray images in mode I have 16 bits, however dark they are."""
BASES = {"1": "L", "L": "L", "LA": "L", "La": "L", "CMYK": "CMYK", "LAB": "LAB"}
"""Mode -> the one in which its colours are converted; of all others it is RGB."""
SPACES = {"GRAY": "L", "RGB ": "RGB", "CMYK": "CMYK"}
"""Colours of an ICC profile -> the mode that it describes."""


def as_srgb(image: Image.Image, name: str, say: Callable[[str], None]) -> Image.Image:
    """The image as 8-bit sRGB; transparent parts become white.

    An embedded ICC profile is applied, relative colorimetric with black point compensation: colours that sRGB
    has are kept, and black stays black (a perceptual table is its maker's taste, and profiles of screens have
    none). Without one, gray and RGB are sRGB already, and CMYK is converted by formula.

    Args:
        name: Name of the image, for messages.
        say: Takes a line on what had to be guessed or left out.

    Raises:
        UserError: A gray image of 32 bits has values out of any known range, or not finite.
    """
    profile = image.info.get("icc_profile", b"")
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image, name, say)
    base, alpha = BASES.get(image.mode, "RGB"), None
    if image.mode.upper().endswith("A") or "transparency" in image.info:
        image = image.convert(f"{base}A")
        alpha = image.getchannel("A")
    colours = image.convert(base)
    if base == "LAB":
        colours = _converted(colours, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    elif profile != b"":
        try:
            colours = _by_profile(colours, profile)
        except (OSError, ImageCms.PyCMSError, ValueError) as error:
            reason = " ".join(str(error).split())
            say(f"{name}: its colour profile cannot be used ({reason}) and is left out")
    colours = colours.convert("RGB")
    if alpha is None:
        return colours
    return Image.composite(colours, Image.new("RGB", colours.size, "white"), alpha)


def _by_profile(colours: Image.Image, data: bytes | None) -> Image.Image:
    if data is None:  # so Pillow says that it was torn
        raise ValueError("it is damaged")
    profile: Any = ImageCms.ImageCmsProfile(io.BytesIO(data))
    mode = SPACES.get(profile.profile.xcolor_space)
    if colours.mode == "L" and mode == "RGB":  # gray images from programs that save RGB profiles with all
        colours = colours.convert("RGB")
    if colours.mode != mode:
        raise ValueError(f"it is for {profile.profile.xcolor_space.strip()}, the image is {colours.mode}")
    return _converted(colours, profile)


def _converted(colours: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    if colours.mode in ("L", "LAB"):  # the table that stands for these is 10 of 255 off in dark parts
        flags |= ImageCms.Flags.NOOPTIMIZE
    intent, to = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(colours, profile, to, intent, "RGB", flags=flags)
    assert converted is not None
    return converted


def _eight_bits(image: Image.Image, name: str, say: Callable[[str], None]) -> Image.Image:
    """A gray image of 16 or 32 bits in 8; of mode LA where one of its values stands for transparent."""
    values = np.asarray(image, dtype=np.float64)
    declared = image.mode.startswith("I;16") or (image.mode == "I" and image.format in DEEP)
    white = 65535 if declared else _white(values, image.mode, name, say)
    gray = np.clip(values / white * 255, 0, 255).round().astype(np.uint8)
    eight = Image.fromarray(gray)
    if "transparency" in image.info:
        alpha = np.where(values == image.info["transparency"], 0, 255)
        eight.putalpha(Image.fromarray(alpha.astype(np.uint8)))
    return eight


def _white(values: np.ndarray, mode: str, name: str, say: Callable[[str], None]) -> int:
    wrong = np.size(values) - np.count_nonzero(np.isfinite(values))
    if wrong:
        raise UserError(f"{name} has {wrong} pixels that are not finite; give them values first")
    low, high = values.min(), values.max()
    white = next((white for white in WHITES[mode] if high <= (1 + OVERSHOOT) * white), None)
    if white is None or low < -OVERSHOOT * white:
        choices = " or ".join(map(str, WHITES[mode]))
        raise UserError(
            f"{name} has values from {low:g} to {high:g}; give some from 0 for black to {choices} for white"
        )
    say(f"{name}: values from {low:g} to {high:g}, of which {white} is taken as white")
    return white
