"""Joins the parts of a prompt."""

from __future__ import annotations

import unicodedata


class JoinedPrompt(str):
    """A text that knows which part of it the user wrote, so that what is wrong with it can be said."""

    parts: tuple[str, ...]
    """The prompt first, then what was added to it."""


def join_prompt(*parts: str) -> JoinedPrompt:
    """The parts that say something, joined by commas."""
    said = tuple(stripped for part in parts if (stripped := part.strip(" ,.")))
    composed = JoinedPrompt(", ".join(said))
    composed.parts = said
    return composed


def says_nothing(text: str) -> bool:
    """True for a text of nothing but spaces, punctuation and control characters."""
    return all(unicodedata.category(character)[0] in "ZPC" for character in text)
