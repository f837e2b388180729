"""The plane as SVG: both distributions as clouds of colour, points, where they land, and the ways there."""

from __future__ import annotations

import base64

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.app.charts import chart
from bridge_nerf.app.plane import SPAN, Landings, Plane
from bridge_nerf.pixels import png

SIDE = 640
"""Units of the drawing."""
CELLS = 96
"""A side, of the image that shows densities."""
SHOWN = 28
"""Points whose way is drawn."""
SOURCE_COLOUR, TARGET_COLOUR = (0, 114, 178), (230, 159, 0)
LEVELS = tuple(0.04 + 0.08 * k for k in range(12))
"""At which the chart measures the errors."""


def drawing(plane: Plane, level: float, steps: int) -> str:
    """The plane at one noise level, with its legend."""
    landings = plane.landings(level, steps)
    ways = landings.paths[:, :SHOWN].movedim(0, 1)
    parts = [
        f'<image href="{_densities(plane)}" width="{SIDE}" height="{SIDE}" preserveAspectRatio="none"/>',
        *(f'<polyline class="way" points="{_spots(way)}"/>' for way in ways),
        *_jumps(landings),
        _dots(landings.cloud, "cloud"),
        _dots(landings.one_step, "one-step"),
        _dots(landings.paths[-1], "bridge"),
    ]
    legend = "".join(
        f'<span><i class="{name}"></i>{text}</span>'
        for name, text in (
            ("cloud", "the points now"),
            ("one-step", "where the method's one step lands"),
            ("bridge", "where the true bridge lands"),
        )
    )
    svg = f'<svg viewBox="0 0 {SIDE} {SIDE}" role="img" aria-label="Two distributions and the way between">'
    return f'<figure class="plane">{svg}{"".join(parts)}</svg><figcaption>{legend}</figcaption></figure>'


def numbers(plane: Plane, level: float, steps: int) -> dict[str, float]:
    """Both errors at the level, and how far the method lands from the true bridge."""
    errors = {name: values[0] for name, values in plane.errors([level], steps).items()}
    return errors | {"distance from the true bridge": plane.landings(level, steps).apart}


def error_chart(plane: Plane, level: float, steps: int) -> str:
    """Both errors against the noise level, with the present one marked."""
    errors = plane.errors(LEVELS, steps)
    lines = {name: list(zip(LEVELS, values, strict=True)) for name, values in errors.items()}
    return chart("Errors at every noise level", lines, "noise level t / T", mark=level)


def _pixels(points: Float[Tensor, "n 2"]) -> list[tuple[float, float]]:
    """In units of the drawing; y points down there."""
    scaled = (points * torch.tensor([1, -1]) + SPAN) * SIDE / (2 * SPAN)
    return [(x, y) for x, y in scaled.tolist()]


def _spots(points: Float[Tensor, "n 2"]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in _pixels(points))


def _dots(points: Float[Tensor, "n 2"], name: str) -> str:
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"/>' for x, y in _pixels(points))
    return f'<g class="{name}">{dots}</g>'


def _jumps(landings: Landings) -> list[str]:
    """A straight line for each of the method's steps that is shown."""
    pairs = torch.stack([landings.cloud[:SHOWN], landings.one_step[:SHOWN]], 1)
    return [f'<polyline class="jump" points="{_spots(pair)}"/>' for pair in pairs]


def _densities(plane: Plane) -> str:
    """Source and target as a transparent image, as a data URI."""
    axis = (torch.arange(CELLS, dtype=torch.float64) + 0.5) / CELLS * 2 * SPAN - SPAN
    y, x = torch.meshgrid(-axis, axis, indexing="ij")
    places = torch.stack([x, y], -1).view(-1, 2)
    t = torch.zeros(len(places), dtype=torch.long)
    layers = []
    for group, colour in (("source", SOURCE_COLOUR), ("target", TARGET_COLOUR)):
        told = plane.prior.embed([plane.prompt(group)]).expand(len(places))
        density = plane.prior.log_density(places, t, told).exp().view(CELLS, CELLS).numpy()
        layers.append((np.sqrt(density / density.max()), np.array(colour)))
    white = np.full((CELLS, CELLS, 3), 255.0)
    for strength, colour in layers:
        white = white + 0.55 * strength[..., None] * (colour - white)
    return "data:image/png;base64," + base64.b64encode(png(white.astype(np.uint8))).decode()


def readings(measured: dict[str, float]) -> str:
    """The numbers as a row of cards."""
    cards = "".join(f"<div><b>{value:.2f}</b>{name}</div>" for name, value in measured.items())
    return f'<div class="readings">{cards}</div>'
