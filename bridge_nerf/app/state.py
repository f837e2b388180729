"""What all tabs share."""

from __future__ import annotations

from dataclasses import dataclass

from bridge_nerf.app.sessions import Visitors
from bridge_nerf.app.worker import Studio


@dataclass(frozen=True, eq=False)
class Shop:
    """The studio, the visitors, and the resolved name of the prior, known before the prior is loaded."""

    studio: Studio
    visitors: Visitors
    prior: str
