"""The paper's two errors over a run, from the numbers that the run left: a table and a plot (SVG)."""

from __future__ import annotations

import csv
import html
import io
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from bridge_nerf.distillation.diagnostics import ERRORS, SOURCES
from bridge_nerf.errors import UserError
from bridge_nerf.files import read_text, write_atomic

LOGS = ("errors.csv", "metrics.csv")
"""What a run of text to 3D, and one of images, leaves."""
PANELS = {"first_order": "first-order error", "mismatch": "source mismatch"}
COLOURS = dict(zip(SOURCES, ("#888888", "#c44e52", "#4878a8"), strict=True))
WIDTH, HEIGHT, MARGIN = 480, 300, 48
"""Pixels of a panel, and of the space around its curves."""
AROUND = 3
"""A curve is the mean over so many measurements to either side: each is of one t and one noise."""

Series = Mapping[str, Sequence[tuple[int, float]]]
"""(step, value) by error and source, as in "mismatch_null"."""


@dataclass(frozen=True)
class SourceRow:
    """What a run measured of one source estimate."""

    source: str
    count: int
    """Measurements."""
    first_order: float
    """Mean distance between where one linear step lands and where the two ODEs land, in units of x."""
    mismatch: float
    """Mean square of source - NOISE."""


def read_errors(path: Path) -> dict[str, list[tuple[int, float]]]:
    """What was measured, from a run's folder or a CSV file.

    What is not finite is said, with its step, and left out.

    Raises:
        UserError: There is no such file, it is not text, or there are no errors in it.
    """
    known = [path] if path.is_file() else [path / name for name in LOGS if (path / name).is_file()]
    if not known:
        raise UserError(f"{path} has neither {' nor '.join(LOGS)}; give the folder of a run")
    text = io.StringIO(read_text(known[0]), newline="")
    try:
        rows = list(csv.DictReader(text))
        series = {
            name: [(int(row["step"]), float(row[name])) for row in rows if row.get(name)] for name in ERRORS
        }
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise UserError(f"{known[0]} is no run's log ({error}); give the folder of a run") from None
    series = {name: list(_finite(name, values)) for name, values in series.items()}
    names = [slot.lower() for slot in SOURCES]
    measured = [name for name in names if all(series[f"{kind}_{name}"] for kind in PANELS)]
    if not measured:
        raise UserError(
            f"{known[0]} holds no errors: measure them while the run is made, with "
            "--pipeline.errors-every 25 (ns-train) or --set errors_every=25 (bridge-nerf image)"
        )
    return {f"{kind}_{name}": series[f"{kind}_{name}"] for kind in PANELS for name in measured}


def _finite(name: str, values: Sequence[tuple[int, float]]) -> Iterator[tuple[int, float]]:
    for step, value in values:
        if math.isfinite(value):
            yield step, value
        else:
            print(f"{name} at step {step} is {value}: left out", file=sys.stderr)


def source_rows(series: Series) -> list[SourceRow]:
    """A row for each source that was measured, means over the run."""
    rows = []
    for source in (slot.lower() for slot in SOURCES):
        if f"mismatch_{source}" in series:
            of = {kind: [value for _, value in series[f"{kind}_{source}"]] for kind in PANELS}
            rows.append(SourceRow(source, len(of["mismatch"]), *(fmean(of[kind]) for kind in PANELS)))
    return rows


def smoothed(values: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Means over up to `AROUND` neighbours to either side."""
    return [
        (step, fmean(value for _, value in values[max(0, k - AROUND) : k + AROUND + 1]))
        for k, (step, _) in enumerate(values)
    ]


def write_plot(series: Series, path: Path, title: str) -> None:
    """Both errors against the step: a dot for each measurement, a curve of means for each source."""
    panels = "".join(_panel(series, kind, k * WIDTH) for k, kind in enumerate(PANELS))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH * len(PANELS)}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
    )
    caption = f'<text x="{MARGIN}" y="{HEIGHT - 4}" fill="#666666">{html.escape(title)}</text>'
    write_atomic(path, f"{head}{panels}{caption}</svg>\n".encode())


def _panel(series: Series, kind: str, left: int) -> str:
    curves = {slot: series[name] for slot in SOURCES if (name := f"{kind}_{slot.lower()}") in series}
    points = [point for values in curves.values() for point in values]
    last, largest = max(step for step, _ in points) or 1, max(value for _, value in points) or 1.0
    wide, high = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN

    def place(point: tuple[int, float]) -> tuple[float, float]:
        return left + MARGIN + point[0] / last * wide, MARGIN + high - point[1] / largest * high

    x, y = left + MARGIN, MARGIN + high
    parts = [
        f'<text x="{x}" y="20" font-weight="bold">{PANELS[kind]}</text>',
        f'<path d="M{x} {MARGIN}V{y}H{x + wide}" fill="none" stroke="#666666"/>',
        f'<text x="{x - 4}" y="{MARGIN + 4}" text-anchor="end">{largest:.3g}</text>',
        f'<text x="{x - 4}" y="{y}" text-anchor="end">0</text>',
        f'<text x="{x + wide}" y="{y + 16}" text-anchor="end">step {last}</text>',
    ]
    for k, (slot, values) in enumerate(curves.items()):
        colour = COLOURS[slot]
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in map(place, smoothed(values)))
        parts += [
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="1.5" fill="{colour}"/>' for a, b in map(place, values)
        ]
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{x + 90 * k}" y="38" fill="{colour}">{slot.lower()}</text>')
    return "".join(parts)
