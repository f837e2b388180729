"""docs/card.md and its JSON, from what the parts have left: every figure of the page comes from there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bridge_nerf.files import write_atomic

PARTS = ("correctness", "speed", "runs")
Verdict = Literal["reached", "missed", "not measured"]
WRONG = ("too large", "not finite")
"""Figures of `correctness` that must be 0."""


@dataclass(frozen=True)
class Goal:
    """What a figure should be."""

    text: str
    item: str
    """Of `speed`."""
    figure: str
    limit: float
    most: bool = True
    """Whether the limit is the most, or the least."""

    def found(self, parts: Mapping[str, Any]) -> float | None:
        """The figure; None where it was not measured."""
        return _figures(parts, "speed", self.item).get(self.figure)

    def verdict(self, parts: Mapping[str, Any]) -> Verdict:
        """By the figure alone."""
        found = self.found(parts)
        if found is None:
            return "not measured"
        return "reached" if (found <= self.limit if self.most else found >= self.limit) else "missed"


GOALS = (
    Goal("a run of `bridge-distill` with Stable Diffusion 2.1's shapes, minutes, at most",
         "bridge-distill, sd-2.1", "a run, minutes", 4.0),
    Goal("an objective's step over its bare network call, at most",
         "published step", "over the bare call", 1.05),
    Goal("the published 2D step's time over ours, at least",
         "published step", "published over ours", 4.0, False),
    Goal("our memory over the published, at most", "published step", "memory of the published", 0.5),
    Goal("an image of 1000 steps, seconds, at most", "image", "1000 steps, s", 30.0),
    Goal("vsd with the XL, peak in GiB, at most", "bridge-distill-big, sdxl, vsd", "peak, GiB", 24.0),
)  # fmt: skip


def write(folder: Path, page: Path) -> None:
    """The page, and beside it the same as JSON, from the parts' files in `folder`; those that are missing are
    said to be."""
    parts = {part: _read(folder / f"{part}.json") for part in PARTS}
    write_atomic(page, text(parts).encode())
    if any(parts.values()):
        write_atomic(page.with_suffix(".json"), json.dumps(parts, indent=1).encode())


def text(parts: Mapping[str, Any]) -> str:
    """The page. `parts` holds the content of each part's file, or None."""
    lines = [
        "# On a card",
        "",
        "Made by `make card` (`benchmarks/card`); figures are from the JSON it writes beside this page.",
        "",
    ]
    measured = [part for part in PARTS if parts.get(part)]
    if not measured:
        lines += ["**Not run yet: nothing of this project has been on a GPU.** What will stand here:", ""]
    for machine in {json.dumps(parts[part]["machine"]): None for part in measured}:
        said = ", ".join(f"{name} {value}" for name, value in json.loads(machine).items() if value)
        lines += [f"Measured with: {said}.", ""]
    if any(parts[part]["machine"].get("small") for part in measured):
        lines += ["**A rehearsal on tiny shapes: its figures mean nothing.**", ""]
    lines += _goals(parts)
    titles = {
        "correctness": "Is it right?",
        "speed": "How fast is it?",
        "runs": "Do whole runs end well?",
    }
    for part in PARTS:
        lines += ["", f"## {titles[part]}", "", *_part(part, parts.get(part))]
    return "\n".join(lines) + "\n"


def _goals(parts: Mapping[str, Any]) -> list[str]:
    lines = ["## Goals", "", "| goal | figure | verdict |", "|---|---|---|"]
    for goal in GOALS:
        found = goal.found(parts)
        shown = "" if found is None else f"{found:g}"
        lines.append(f"| {goal.text} {goal.limit:g} | {shown} | {goal.verdict(parts)} |")
    return lines


def _part(part: str, content: Mapping[str, Any] | None) -> list[str]:
    if content is None:
        return [f"Not run: `python -m benchmarks.card {part}`."]
    items: Mapping[str, Any] = content["items"]
    bad = [name for name, found in items.items() if not good(found)]
    skipped = [name for name, found in items.items() if "not here" in found]
    lines = [
        f"{len(items) - len(bad) - len(skipped)} of {len(items)} items are as they should be"
        + (f"; **not: {'; '.join(bad)}**" if bad else "")
        + (f"; not on this device: {'; '.join(skipped)}" if skipped else "")
        + ".",
        "",
        "| item | found | s |",
        "|---|---|---|",
    ]
    return lines + [
        f"| {name} | {_said(found)} | {found.get('seconds', '')} |" for name, found in items.items()
    ]


def good(found: Mapping[str, Any]) -> bool:
    """Whether an item ended, its errors are allowed, and what it should leave behind is there."""
    if "not here" in found:
        return True
    figures = found.get("figures")
    if figures is None:
        return False
    return not any(figures.get(name) for name in WRONG) and not any(
        value is False for value in figures.values()
    )


def _said(found: Mapping[str, Any]) -> str:
    if "figures" not in found:
        why = found.get("failed") or found.get("not here") or ""
        return ("**failed**: " if "failed" in found else "not here: ") + _cell(why)
    return "; ".join(f"{name}: {_number(value)}" for name, value in found["figures"].items())


def _number(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    return f"{value:.4g}" if isinstance(value, float) else _cell(str(value))


def _cell(words: str) -> str:
    """On one line, and with nothing that would end a cell of a table."""
    return " ".join(words.replace("|", "/").split())


def _figures(parts: Mapping[str, Any], part: str, item: str) -> Mapping[str, Any]:
    return ((parts.get(part) or {}).get("items", {}).get(item) or {}).get("figures") or {}


def _read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None
