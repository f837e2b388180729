"""Measurements as a text table, as JSON and as a chart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from bridge_nerf.evaluation.charts import STYLE, svg
from bridge_nerf.files import auxiliary, write_atomic

COLUMNS = 4
"""Panels side by side in a chart."""


def text_table(rows: Sequence[Any]) -> str:
    """Rows (one kind of dataclass) under the names of their fields; three digits a number, "-" for None."""
    table = [list(asdict(rows[0])), *([_cell(value) for value in asdict(row).values()] for row in rows)]
    widths = [max(len(line[k]) for line in table) for k in range(len(table[0]))]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in table)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def write_table(rows: Sequence[Any], path: Path, **facts: Any) -> None:
    """`path`.json with the facts and the rows, `path`.txt and `path`.svg."""
    data = {**facts, "rows": [asdict(row) for row in rows]}
    write_atomic(path.with_suffix(".json"), json.dumps(data, indent=1).encode())
    write_atomic(path.with_suffix(".txt"), (text_table(rows) + "\n").encode())
    chart = path.with_suffix(".svg")
    with auxiliary(chart):
        write_atomic(chart, svg(bars(rows)))


@rc_context(STYLE)
def bars(rows: Sequence[Any]) -> Figure:
    """A panel for every field with a fraction or another float: one bar a row, none for None."""
    records = [asdict(row) for row in rows]
    names = [name for name in records[0] if any(isinstance(record[name], float) for record in records)]
    labels = [" ".join(v for v in record.values() if isinstance(v, str)) for record in records]
    columns = min(COLUMNS, len(names))
    lines = -(-len(names) // columns)
    figure = Figure((1.5 + 2.2 * columns, lines * (0.6 + 0.24 * len(rows))), layout="constrained")
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False)
    panels[0, 0].set_yticks(range(len(rows)), labels)
    panels[0, 0].invert_yaxis()
    for panel in panels.flat:
        panel.set_axis_off()
    for name, panel in zip(names, panels.flat, strict=False):
        values = [record[name] for record in records]
        known = [value if value is not None and isfinite(value) else 0.0 for value in values]
        panel.set_axis_on()
        panel.set_title(name)
        panel.bar_label(panel.barh(range(len(rows)), known, color="#4878a8"), map(_digits, values), padding=3)
        panel.axvline(0, color="black", linewidth=0.8)
        panel.margins(x=0.2, y=0.02)
        panel.tick_params(axis="y", length=0)
        panel.xaxis.set_visible(False)
        panel.spines[:].set_visible(False)
    return figure


def _digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
