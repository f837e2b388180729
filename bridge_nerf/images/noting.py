"""Names of files and folders as they are noted in images: never with the path that leads to them.

Images are shown around, and what stands in them with them.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

FOLDER = "./"
"""Prefix of the noted name of a prior that is a folder."""


def noted_prior(name: str) -> str:
    """The resolved name of a prior as it is noted: of a folder its own name alone, as in "./tiny"."""
    return FOLDER + Path(name).name if name.startswith(("/", "~", ".")) else name


def noted_command(arguments: Sequence[str]) -> str:
    """The command of these arguments, with files and folders as their names alone."""
    shown = ["bridge-nerf"]
    for before, word in pairwise(("", *arguments)):
        flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        if (flag or before) == "--out" or os.path.exists(os.path.expanduser(value)):  # --out may yet be made
            word = f"{flag}{equals}{Path(value).name or value}"
        shown.append(word)
    return shlex.join(shown)
