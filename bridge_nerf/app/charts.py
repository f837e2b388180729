"""Line charts as SVG: they scale with the page, follow its colours, and need no script."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
"""Four that colour-blind readers can tell apart (Okabe & Ito 2008)."""
WIDTH, HEIGHT = 420, 200
LEFT, RIGHT, TOP, BOTTOM = 40, 12, 12, 30
"""Margins of the plot."""

Line = Sequence[tuple[float, float]]


def chart(title: str, lines: Mapping[str, Line], x_title: str, mark: float | None = None) -> str:
    """Named lines, y from 0 on, under a title with a legend.

    Args:
        mark: An x to point out.
    """
    points = [point for line in lines.values() for point in line]
    right = max((x for x, _ in points), default=1.0) or 1.0
    top = max((y for _, y in points), default=1.0) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + x / right * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - y / (1.05 * top) * (HEIGHT - TOP - BOTTOM)

    parts = [_grid(share * top, place(0, share * top)[1]) for share in (0.0, 0.5, 1.0)]
    if mark is not None:
        x, y = place(mark, 0)
        parts.append(f'<line class="mark" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{y:.1f}"/>')
    for colour, line in zip(COLOURS, lines.values(), strict=False):
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in (place(x, y) for x, y in line))
        parts.append(f'<polyline points="{path}" stroke="{colour}"/>')
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{x_title}</text>'
    )
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">{"".join(parts)}</svg>'
    return f'<figure class="chart"><figcaption>{title}{_legend(lines)}</figcaption>{svg}</figure>'


def _grid(value: float, y: float) -> str:
    return (
        f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
        f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{value:.2g}</text>'
    )


def _legend(names: Mapping[str, Line]) -> str:
    return "".join(
        f'<span><i style="background:{colour}"></i>{html.escape(name)}</span>'
        for colour, name in zip(COLOURS, names, strict=False)
    )
