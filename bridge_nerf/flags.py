"""Flags of a configuration: their names, their ranges, and those that the user gave."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import tyro

from bridge_nerf.errors import UserError


class Range(NamedTuple):
    """The numbers from `least` to `most` that lie above `above` and below `below`; all are finite."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def holds(self, number: float) -> bool:
        """True for a number in the range; NaN is in none."""
        return self.least <= number <= self.most and self.above < number < self.below

    def __str__(self) -> str:
        said = {"from": self.least, "above": self.above, "to": self.most, "to below": self.below}
        ends = [f"{word} {end:.12g}" for word, end in said.items() if math.isfinite(end)]
        open_ = ends and not any(end.startswith("to") for end in ends) and not math.isfinite(self.above)
        return " ".join(["a number" if ends else "a finite number", *ends, *(["on"] if open_ else [])])


FINITE = Range()
SHARE = Range(0, 1)
STEPS = Range(1, 10**9)
STEP = Range(0, 10**9)
SIZE = Range(0, 10**6)
"""Range of a rate, a weight or a scale: single precision ends soon after."""
SEED = Range(0, 2**32 - 1)
"""Range of seeds that NumPy takes."""


def check_flags(config: Any, ranges: Mapping[str, Range] | None = None) -> None:
    """Refuse values that make no sense, by flag.

    Args:
        config: A dataclass, as tyro makes one of a command line. Each of its parts may say the ranges of its
            numbers, by field, in a class attribute RANGES.
        ranges: Further ranges by flag, as in "pipeline.model.samples". All other numbers must be finite.

    Raises:
        UserError: The first value out of range, or text that is not UTF-8; it names the flag.
    """
    for leaf in leaves(config):
        own = getattr(type(leaf.owner), "RANGES", {}).get(leaf.name)
        within = own or (ranges or {}).get(leaf.flag, FINITE)
        if leaf.value == () and within is not FINITE:
            raise UserError(f"--{leaf.flag} says nothing; give {within}, or several")
        for part in leaf.value if isinstance(leaf.value, tuple | list) else (leaf.value,):
            if isinstance(part, str | Path):
                if own is not None:  # as in the note of an image, which may say anything
                    raise UserError(f"--{leaf.flag} {part!r} is not a number; give {within}")
                _check_text(leaf.flag, str(part))
            elif isinstance(part, int | float) and not isinstance(part, bool) and not within.holds(part):
                shown = str(part) if isinstance(part, int) else f"{part:g}"
                raise UserError(f"--{leaf.flag} {shown} makes no sense; give {within}")


class Leaf(NamedTuple):
    """A value of a configuration that is not a configuration itself."""

    flag: str
    """Name of the flag, as tyro spells it, without the dashes in front."""
    owner: Any
    """The dataclass or the dictionary that holds it."""
    name: str
    """Field or key in the owner."""
    value: Any

    def put(self, value: Any) -> None:
        """Replace it."""
        if isinstance(self.owner, dict):
            self.owner[self.name] = value
        else:
            setattr(self.owner, self.name, value)


def leaves(config: Any, prefix: str = "") -> Iterator[Leaf]:
    """Every value of a configuration, of its parts too, in the order of the fields."""
    named = {key: key for key in config} if isinstance(config, dict) else _spelled(type(config))
    for name, spelled in named.items():
        value = config[name] if isinstance(config, dict) else getattr(config, name)
        flag = ".".join(filter(None, (prefix, spelled.replace("_", "-"))))
        if name.startswith("_") or isinstance(value, type):
            continue
        if is_dataclass(value) or isinstance(value, dict):
            yield from leaves(value, flag)
        else:
            yield Leaf(flag, config, name, value)


@lru_cache
def _spelled(kind: type) -> dict[str, str]:
    """Field -> its part of a flag, which `tyro.conf.arg(name=...)` may change or leave out."""
    hints: dict[str, Any] = get_type_hints(kind, include_extras=True)
    argument: Any = type(tyro.conf.arg())
    names = {}
    for field in fields(kind):
        notes: list[Any] = list(getattr(hints[field.name], "__metadata__", ()))
        spelled = [note.name for note in notes if isinstance(note, argument)]
        names[field.name] = field.name if spelled in ([], [None]) else spelled[0]
    return names


def typed() -> set[str]:
    """The flags that stand on the command line."""
    words = (word for word in sys.argv if word.startswith("--"))
    return {word.split("=")[0].removeprefix("--").replace("_", "-") for word in words}


def given(config: Any, usual: Any) -> set[str]:
    """The flags that the user gave: those whose values differ from the usual ones, and those that stand on
    the command line, since the value that was given may be the usual one."""
    said, values = typed(), {leaf.flag: leaf.value for leaf in leaves(usual)}
    return {
        leaf.flag for leaf in leaves(config) if leaf.flag in said or leaf.value != values.get(leaf.flag, ...)
    }


def follow(config: Any, defaults: Any, keep: set[str]) -> list[str]:
    """Take over the defaults, but for the flags to keep; answers the changes, as flags with their values."""
    own, changed = {leaf.flag: leaf for leaf in leaves(config)}, []
    for leaf in leaves(defaults):
        if leaf.flag in own and leaf.flag not in keep and own[leaf.flag].value != leaf.value:
            own[leaf.flag].put(deepcopy(leaf.value))
            changed.append(f"--{leaf.flag} {shlex.quote(str(leaf.value))}")
    return changed


def _check_text(flag: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        # Python keeps bytes that it cannot read as surrogates.
        shown = text.encode(errors="backslashreplace").decode()
        raise UserError(f'--{flag} "{shown}" holds bytes that are not UTF-8; write it in UTF-8') from None
