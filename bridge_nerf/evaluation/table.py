"""Figures as a text table, as JSON and as a plot (SVG, drawn without any library)."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bridge_nerf.files import auxiliary, write_atomic

BAR, LINE, WIDE = 22, 260, 1000
"""Pixels: height of a bar, width of a panel, width of the whole plot."""


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
    plot = path.with_suffix(".svg")
    with auxiliary(plot):
        write_atomic(plot, bars(rows).encode())


def bars(rows: Sequence[Any]) -> str:
    """A panel of bars for every field that is a fraction or another float, one bar a row, none for None."""
    records = [asdict(row) for row in rows]
    names = [name for name in records[0] if any(isinstance(record[name], float) for record in records)]
    labels = [" ".join(v for v in record.values() if isinstance(v, str)) for record in records]
    columns = WIDE // LINE
    height = BAR * (len(rows) + 2)
    panels = [
        _panel(name, labels, [record[name] for record in records], k % columns * LINE, k // columns * height)
        for k, name in enumerate(names)
    ]
    tall = -(-len(names) // columns) * height
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDE}" height="{tall}" font-family="sans-serif"'
    return f'{head} font-size="12"><rect width="100%" height="100%" fill="white"/>{"".join(panels)}</svg>\n'


def _panel(name: str, labels: Sequence[str], values: Sequence[float | None], x: int, y: int) -> str:
    known = [abs(value) for value in values if value is not None and value == value]
    largest = max([*known, 1e-9])
    parts = [f'<text x="{x + 4}" y="{y + 16}" font-weight="bold">{html.escape(name)}</text>']
    for k, (label, value) in enumerate(zip(labels, values, strict=True)):
        top, said = y + BAR * (k + 1), "-" if value is None else f"{value:.3g}"
        length = 0 if value is None or value != value else abs(value) / largest * (LINE - 150)
        parts.append(f'<text x="{x + 96}" y="{top + 15}" text-anchor="end">{html.escape(label)}</text>')
        parts.append(f'<rect x="{x + 100}" y="{top + 4}" width="{length:.1f}" height="14" fill="#4878a8"/>')
        parts.append(f'<text x="{x + 104 + length:.1f}" y="{top + 15}">{said}</text>')
    return "".join(parts)
