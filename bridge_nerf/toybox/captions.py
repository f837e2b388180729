"""The content of an image (`Scene`) and its captions.

A scene is drawn at random from the world; its caption names colour, toy, view, background and descriptors,
each of the optional parts left out now and then, so that shorter prompts are answered with a mixture, as in a
real text-to-image model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bridge_nerf.toybox.words import COLOURED, COLOURS, FLAWS, HELD_OUT, OBJECTS, QUALITIES, article

CLEAN_SHARE = 0.62
"""Share of images without a flaw."""
PAINTING_SHARE = 0.07
EMPTY_SHARE = 0.10
"""Share of captions that are empty."""


@dataclass(frozen=True)
class Scene:
    """One image's content in words; `colour` is None for toys that have their own, `flaws` may hold
    "painting".
    """

    toy: str
    colour: str | None
    view: str
    background: str
    flaws: frozenset[str] = frozenset()


def random_colour(toy: str, r: np.random.Generator, held_out: bool = False) -> str | None:
    """A colour for a toy that takes one; pairs in HELD_OUT only if `held_out`."""
    if toy not in COLOURED:
        return None
    allowed = [name for name in COLOURS if held_out or (toy, name) not in HELD_OUT]
    return allowed[r.integers(len(allowed))]


def random_flaws(r: np.random.Generator) -> frozenset[str]:
    """A random set of flaws: mostly none; else one (two times in three), two or three, or four to all ten; or
    "painting" instead.
    """
    kind = r.random()
    if kind < CLEAN_SHARE:
        return frozenset()
    if kind < CLEAN_SHARE + PAINTING_SHARE:
        return frozenset({"painting"})
    many = r.random()
    count = 1 if many < 0.66 else int(r.integers(2, 4)) if many < 0.86 else int(r.integers(4, len(FLAWS) + 1))
    return frozenset(r.permutation(FLAWS)[:count].tolist())


def random_toy(r: np.random.Generator) -> str:
    """A random toy, every one equally often."""
    return OBJECTS[r.integers(len(OBJECTS))]


def caption(scene: Scene, r: np.random.Generator) -> str:
    """A random true caption of the scene; one in ten is empty."""
    if r.random() < EMPTY_SHARE:
        return ""
    named = scene.colour is not None and r.random() < 0.85
    noun = article(f"{scene.colour} {scene.toy}" if named else scene.toy)
    words = [f"a painting of {noun}" if "painting" in scene.flaws and r.random() < 0.7 else noun]
    if r.random() < 0.8:
        words.append(scene.view)
    if r.random() < 0.6:
        words.append(f"{scene.background} background")
    return ", ".join([*words, *_descriptors(scene.flaws, "of" not in words[0].split(), r)])


def _descriptors(flaws: frozenset[str], name_painting: bool, r: np.random.Generator) -> list[str]:
    if not flaws:
        count = int(r.integers(0, len(QUALITIES) + 1)) if r.random() < 0.7 else 0
        return r.permutation(QUALITIES)[:count].tolist()
    if flaws == {"painting"}:
        return ["painting"] if name_painting else []
    return r.permutation(sorted(flaws)).tolist() if r.random() < 0.88 else []
