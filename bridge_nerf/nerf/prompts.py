"""What the prior is told about a view: prompt, view words, background words, descriptors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

View = Literal["front", "side", "back", "overhead"]
VIEWS: tuple[View, ...] = ("front", "side", "back", "overhead")
OPPOSITE: Mapping[View, View] = {"front": "back", "side": "front", "back": "front", "overhead": "front"}
"""The view that an image is most wrongly taken for: a face on the wrong side, or none in front."""


@dataclass
class ViewConfig:
    """View-dependent prompting (DreamFusion, Poole et al. 2022, section 3.2): it keeps an object from
    growing a face on every side."""

    front: str = "front view"
    """Words for a camera in front; empty for none. So are the others."""
    side: str = "side view"
    """Words for a camera at the side."""
    back: str = "back view"
    """Words for a camera behind."""
    overhead: str = "overhead view"
    """Words for a camera above."""
    front_angle: float = 45.0
    """In front: up to this many degrees of azimuth to either side."""
    back_angle: float = 135.0
    """Behind: from this many degrees of azimuth on."""
    overhead_elevation: float = 60.0
    """Above: from this many degrees of elevation on."""

    front_only: tuple[str, ...] = ()
    """Phrases of the prompt to leave out where the camera is not in front, as in "smiling", because they
    contradict the view (prompt debiasing, Hong et al. 2023)."""

    def view(self, azimuth: float, elevation: float) -> View:
        """Which view a camera has; angles in degrees, azimuth 0 in front of the object."""
        if elevation >= self.overhead_elevation:
            return "overhead"
        turned = abs((azimuth + 180) % 360 - 180)
        if turned <= self.front_angle:
            return "front"
        return "back" if turned >= self.back_angle else "side"

    def words(self, view: View) -> str:
        """What a prompt says about the view."""
        return getattr(self, view)

    def debiased(self, prompt: str, view: View) -> str:
        """The prompt without what contradicts the view."""
        for phrase in self.front_only if view != "front" else ():
            prompt = re.sub(rf"\b{re.escape(phrase)}\b", "", prompt, flags=re.IGNORECASE)
        return " ".join(prompt.split()).replace(" ,", ",")
