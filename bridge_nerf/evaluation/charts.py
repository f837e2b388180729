"""Charts as SVG files that depend on the numbers alone."""

from __future__ import annotations

import io
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "bridge_nerf",  # names of elements are random without it
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "font.size": 9,
    "axes.titlesize": 9,
}
"""Settings of matplotlib while a chart is drawn and written."""


@rc_context(STYLE)
def svg(figure: Figure) -> bytes:
    """The figure as an SVG file without a date."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
