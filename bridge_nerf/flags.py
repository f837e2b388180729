"""What can be known to be wrong with a command's flags before anything is loaded: numbers out of range, and
text that is not text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bridge_nerf.errors import UserError


class Range(NamedTuple):
    """The numbers from `least` to `most` that lie above `above` and below `below`; all are finite."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def holds(self, number: float) -> bool:
        """Whether the number is in the range; NaN is in none."""
        return self.least <= number <= self.most and self.above < number < self.below

    def __str__(self) -> str:
        said = {"from": self.least, "above": self.above, "to": self.most, "to below": self.below}
        ends = [f"{word} {end:.12g}" for word, end in said.items() if math.isfinite(end)]
        open_ = ends and not any(end.startswith("to") for end in ends) and not math.isfinite(self.above)
        return " ".join(["a number" if ends else "a finite number", *ends, *(["on"] if open_ else [])])


FINITE = Range()
SHARE = Range(0, 1)
COUNT = Range(1)
NOT_NEGATIVE = Range(0)
STEPS = Range(1, 10**9)
SIZE = Range(0, 10**6)
"""Of a rate, a weight or a scale: more is a slip of the finger, and single precision ends soon after."""
SEED = Range(0, 2**32 - 1)
"""What NumPy takes for one."""


def check_flags(config: Any, ranges: Mapping[str, Range]) -> None:
    """Raises UserError, naming the flag, for the first value of a configuration that makes no sense.

    Args:
        config: A dataclass, as tyro makes one of a command line.
        ranges: Flag, as in "pipeline.model.samples" -> what its numbers may be. Numbers of other flags must
            be finite.
    """
    for flag, value in leaves(config):
        within = ranges.get(flag, FINITE)
        if value == () and flag in ranges:
            raise UserError(f"--{flag} says nothing; give {within}, or several")
        for part in value if isinstance(value, tuple | list) else (value,):
            if isinstance(part, str | Path):
                _check_text(flag, str(part))
            elif isinstance(part, int | float) and not isinstance(part, bool) and not within.holds(part):
                shown = str(part) if isinstance(part, int) else f"{part:g}"
                raise UserError(f"--{flag} {shown} makes no sense; give {within}")


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(flag, value) of everything in a configuration, of its parts too."""
    named = config if isinstance(config, dict) else {f.name: getattr(config, f.name) for f in fields(config)}
    for name, value in named.items():
        flag = f"{prefix}{name.replace('_', '-')}"
        if name.startswith("_") or isinstance(value, type):
            continue
        if is_dataclass(value) or isinstance(value, dict):
            yield from leaves(value, f"{flag}.")
        else:
            yield flag, value


def _check_text(flag: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        # Python keeps bytes that it cannot read as surrogates.
        shown = text.encode(errors="backslashreplace").decode()
        raise UserError(f'--{flag} "{shown}" holds bytes that are not UTF-8; write it in UTF-8') from None
