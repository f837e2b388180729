"""Saturation and pull of a race, as charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bridge_nerf.app.charts import chart

if TYPE_CHECKING:
    from bridge_nerf.app.compare import Shot


def race_charts(shots: Sequence[Shot], objectives: Sequence[str]) -> str:
    """Both charts, one under the other; a line for each objective."""
    saturation = {
        name: [(float(shot.done), shot.saturation[k]) for shot in shots] for k, name in enumerate(objectives)
    }
    pull = {
        name: [(float(shot.done), shot.pull[k]) for shot in shots if shot.pull]
        for k, name in enumerate(objectives)
    }
    return chart("Saturation of the image", saturation, "step") + chart(
        "Pull: root mean square of target minus source", pull, "step"
    )
