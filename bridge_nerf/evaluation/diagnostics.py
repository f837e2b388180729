"""The paper's two errors over a run, from the numbers in its log: a table and a plot."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from matplotlib import rc_context
from matplotlib.figure import Figure

from bridge_nerf.distillation.diagnostics import ERRORS, SOURCES
from bridge_nerf.errors import UserError
from bridge_nerf.evaluation.charts import STYLE, svg
from bridge_nerf.files import write_atomic
from bridge_nerf.reading import read_rows

LOGS = ("errors.csv", "metrics.csv")
"""Logs of a run of text to 3D, and of one that makes images."""
PANELS = {"first_order": "first-order error", "mismatch": "source mismatch"}
COLOURS = dict(zip(SOURCES, ("#888888", "#c44e52", "#4878a8"), strict=True))
NEIGHBOURS = 3
"""Measurements to either side over which a curve is the mean: each is of one t and one noise."""

Series = Mapping[str, Sequence[tuple[int, float]]]
"""(step, value) by error and source, as in "mismatch_null"."""


@dataclass(frozen=True)
class SourceRow:
    """Errors of one source estimate, means over a run."""

    source: str
    count: int
    """Measurements."""
    first_order: float
    """Mean distance between where one linear step lands and where the two ODEs land, in units of x."""
    mismatch: float
    """Mean square of source - NOISE."""


def log_of(path: Path) -> Path:
    """The log of a run, from its folder or that file itself. UserError where there is none."""
    known = [path] if path.is_file() else [path / name for name in LOGS if (path / name).is_file()]
    if not known:
        raise UserError(f"{path} has neither {' nor '.join(LOGS)}; give the folder of a run")
    return known[0]


def read_errors(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Measurements from a run's folder or a CSV file.

    Values that are not finite are left out, with a line for each that names its step.

    Raises:
        UserError: There is no such file, it is not text, or there are no errors in it.
    """
    log = log_of(path)
    rows = read_rows(log, "give the folder of a run")
    try:
        series = {
            name: [(int(row["step"]), float(row[name])) for row in rows if row.get(name)] for name in ERRORS
        }
    except ValueError as error:
        raise UserError(f"{log} is not the log of a run ({error}); give the folder of a run") from None
    series = {name: list(_finite(name, values)) for name, values in series.items()}
    names = [slot.lower() for slot in SOURCES]
    measured = [name for name in names if all(series[f"{kind}_{name}"] for kind in PANELS)]
    if not measured:
        raise UserError(
            f"{log} holds no errors: measure them while the run is made, with "
            "--pipeline.errors-every 25 (ns-train) or --errors-every 25 (bridge-nerf image)"
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
    """Means over up to `NEIGHBOURS` neighbours to either side."""
    return [
        (step, fmean(value for _, value in values[max(0, k - NEIGHBOURS) : k + NEIGHBOURS + 1]))
        for k, (step, _) in enumerate(values)
    ]


@rc_context(STYLE)
def plot(series: Series, title: str) -> Figure:
    """Both errors against the step: a dot for each measurement, a curve of means for each source."""
    figure = Figure((9.6, 3.4), layout="constrained")
    figure.suptitle(title, fontsize="medium")
    for kind, panel in zip(PANELS, figure.subplots(1, len(PANELS)), strict=True):
        for slot, colour in COLOURS.items():
            values = series.get(f"{kind}_{slot.lower()}")
            if values:
                panel.plot(*zip(*values, strict=True), ".", color=colour, alpha=0.4, markersize=3)
                panel.plot(*zip(*smoothed(values), strict=True), color=colour, label=slot.lower())
        panel.set(title=PANELS[kind], xlabel="step", ylim=(0, None))
        panel.legend(frameon=False)
    return figure


def write_plot(series: Series, path: Path, title: str) -> None:
    """Write the plot as SVG. UserError for a path with another ending: it may be a file of the run's."""
    if path.suffix.lower() != ".svg":
        raise UserError(f"{path} does not name a plot; end it in .svg")
    write_atomic(path, svg(plot(series, title)))
