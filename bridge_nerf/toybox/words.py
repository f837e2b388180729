"""The toybox's closed vocabulary, and what is held out of training.

A caption reads "a red apple, front view, white background, detailed, sharp": painting prefix, colour where
the toy has one, name, view, background, descriptors. Descriptors are true: FLAWS name corruptions that the
image really shows.
"""

from __future__ import annotations

from bridge_nerf.photometry import BACKGROUNDS

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.10, 0.10),
    "orange": (0.95, 0.50, 0.08),
    "yellow": (0.96, 0.82, 0.15),
    "green": (0.16, 0.62, 0.20),
    "blue": (0.14, 0.30, 0.85),
    "purple": (0.52, 0.18, 0.68),
    "pink": (0.96, 0.52, 0.70),
    "white": (0.93, 0.93, 0.92),
}

COLOURED = (
    "apple", "mushroom", "house", "car", "ice cream", "chair", "rocket", "lamp", "mug", "robot", "flower",
)  # fmt: skip
"""Toys whose colour a caption names."""

OBJECTS = (
    "pineapple", "apple", "mushroom", "snowman", "cactus", "house", "car", "tree", "ice cream", "chair",
    "rocket", "duck", "lamp", "mug", "carrot", "banana", "cake", "robot", "flower", "penguin",
)  # fmt: skip

VIEWS = ("front view", "side view", "back view", "overhead view")

FLAWS = (
    "oversaturated", "smooth", "pixelated", "cartoon", "foggy", "hazy", "blurry", "bad structure", "noisy",
    "malformed",
)  # fmt: skip
"""The paper's words for what score distillation does to an image."""

QUALITIES = ("detailed", "high resolution", "high quality", "sharp")

HELD_OUT = frozenset({
    ("apple", "blue"), ("mushroom", "green"), ("house", "purple"), ("car", "pink"),
    ("ice cream", "orange"), ("chair", "yellow"), ("rocket", "purple"), ("lamp", "red"), ("mug", "orange"),
    ("robot", "green"),
})  # fmt: skip
"""(toy, colour) pairs never shown in training: they measure composition."""

GRAMMAR = ("a", "an", "of", "painting", "background", "view", "photo", "the", "on", "and")


def article(words: str) -> str:
    """The noun phrase with its article: "a pineapple", "an apple"."""
    return ("an " if words[0] in "aeiou" else "a ") + words


def vocabulary() -> dict[str, list[str]]:
    """Every word a prompt may hold, by category, as stored in the prior's `words.json`."""
    return {
        "objects": list(OBJECTS),
        "colours": list(COLOURS),
        "views": list(VIEWS),
        "descriptors": [*QUALITIES, *FLAWS, "painting"],
        "other": sorted({*GRAMMAR, *BACKGROUNDS}),
    }
