"""Drawings of the plane as SVG, and its errors as a table."""

from __future__ import annotations

import base64

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.app.plane import Plane
from bridge_nerf.pixels import png

SPAN = 4.0
"""The drawing shows [-SPAN, SPAN] in both directions."""
SIDE = 640
"""Side of the drawing in its own units."""
CELLS = 96
"""Pixels a side of the image that shows densities."""
MAX_PATHS = 28
"""Number of points whose paths are drawn."""
SOURCE_COLOUR, TARGET_COLOUR = (0, 114, 178), (230, 159, 0)
LEVELS = tuple(0.04 + 0.08 * k for k in range(12))
"""Noise levels of the chart."""
LEGEND = {
    "cloud": "the points now",
    "one-step": "where the objective's one step lands",
    "bridge": "where the true bridge lands",
}
"""CSS class -> what its dots are."""


def drawing(plane: Plane, level: float, steps: int) -> str:
    """The plane at one noise level as HTML: densities, points, paths, and a legend."""
    landings = plane.landings(level, steps)
    layers = {
        "bridge path": landings.paths.movedim(0, 1)[:MAX_PATHS],
        "one-step path": torch.stack([landings.cloud, landings.one_step], 1)[:MAX_PATHS],
        "cloud dots": landings.cloud[:, None],
        "one-step dots": landings.one_step[:, None],
        "bridge dots": landings.paths[-1][:, None],
    }
    paths = "".join(f'<path class="{name}" d="{_path_data(lines)}"/>' for name, lines in layers.items())
    legend = "".join(f'<span class="{name}">{text}</span>' for name, text in LEGEND.items())
    return (
        f'<figure class="plane"><svg viewBox="0 0 {SIDE} {SIDE}" role="img" '
        'aria-label="Two distributions and the way between">'
        f'<image href="{_densities(plane)}" width="{SIDE}" height="{SIDE}" preserveAspectRatio="none"/>'
        f"{paths}</svg><figcaption>{legend}</figcaption></figure>"
    )


def errors_at(plane: Plane, level: float, steps: int) -> dict[str, float]:
    """Both errors at the level, and the distance of the objective's step from the true bridge."""
    errors = {name: values[0] for name, values in plane.errors([level], steps).items()}
    return errors | {"distance from the true bridge": plane.landings(level, steps).distance}


def error_curves(plane: Plane, level: float, steps: int) -> pd.DataFrame:
    """Both errors against the noise level, and a vertical line at the present one, as a table for a chart."""
    errors = plane.errors(LEVELS, steps)
    top = max(max(values) for values in errors.values())
    rows = [(x, y, name) for name, values in errors.items() for x, y in zip(LEVELS, values, strict=True)]
    rows += [(level, 0.0, "this level"), (level, top, "this level")]
    return pd.DataFrame(rows, columns=["noise level", "error", "curve"])


def _path_data(lines: Float[Tensor, "n k 2"]) -> str:
    """The SVG path of polylines; a line of a single point is a dot, drawn by round line caps."""
    scaled = (lines * torch.tensor([1, -1]) + SPAN) * SIDE / (2 * SPAN)
    return "".join("M" + " ".join(f"{x:.1f},{y:.1f}" for x, y in line) + "h0" for line in scaled.tolist())


def _densities(plane: Plane) -> str:
    """Source and target as an image, in a data URI."""
    axis = (torch.arange(CELLS, dtype=torch.float64) + 0.5) / CELLS * 2 * SPAN - SPAN
    y, x = torch.meshgrid(-axis, axis, indexing="ij")
    places = torch.stack([x, y], -1).view(-1, 2)
    t = torch.zeros(len(places), dtype=torch.long)
    image = np.full((CELLS, CELLS, 3), 255.0)
    for group, colour in (("source", SOURCE_COLOUR), ("target", TARGET_COLOUR)):
        condition = plane.prior.embed([plane.prompt(group)]).expand(len(places))
        density = plane.prior.log_density(places, t, condition).exp().view(CELLS, CELLS, 1).numpy()
        image += 0.55 * np.sqrt(density / density.max()) * (np.array(colour) - image)
    return "data:image/png;base64," + base64.b64encode(png(image.astype(np.uint8))).decode()
