"""View-dependent prompting (DreamFusion, Poole et al. 2022, section 3.2): it keeps an object from growing a
face on every side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.errors import UserError
from bridge_nerf.flags import Range
from bridge_nerf.guidance.config import PromptConfig
from bridge_nerf.guidance.prompts import slot_texts

View = Literal["front", "side", "back", "overhead"]
VIEWS: tuple[View, ...] = ("front", "side", "back", "overhead")
OPPOSITE: Mapping[View, View] = {"front": "back", "side": "front", "back": "front", "overhead": "front"}
"""The view that an image is most wrongly taken for: a face on the wrong side, or none in front."""


@dataclass
class ViewConfig:
    """Words of the views, and the angles between them."""

    RANGES: ClassVar[dict[str, Range]] = {
        "front_angle": Range(0, 180),
        "back_angle": Range(0, 180),
        "overhead_elevation": Range(-90, 180),
    }

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
        """The view of a camera; angles in degrees, azimuth 0 in front of the object."""
        if elevation >= self.overhead_elevation:
            return "overhead"
        turned = abs((azimuth + 180) % 360 - 180)
        if turned <= self.front_angle:
            return "front"
        return "back" if turned >= self.back_angle else "side"

    def words(self, view: View) -> str:
        """The view's words."""
        return getattr(self, view)

    def check_text(self, text: str, name: str) -> None:
        """Refuse a text that says one of the views itself: of all others it would be said too.

        Only where the phrase is about the image ("a car, side view", "front view of a car"), not about what
        is in it ("a house with a front view of the sea").

        Args:
            name: Name of the text, for the message.

        Raises:
            UserError: It does.
        """
        for view in VIEWS:
            phrase = r"[\s-]+".join(map(re.escape, self.words(view).split()))
            about = rf"(?:(?:an?|the)\s+)?{phrase}(?:\s+of\b.*)?|.*\b{phrase}"
            for part in self.debiased(text, "side").split(",") if phrase else ():
                if re.fullmatch(about, part.strip(" ."), re.IGNORECASE):
                    off = " ".join(f"--pipeline.view.{each} ''" for each in VIEWS)
                    raise UserError(
                        f'{name} says "{self.words(view)}", which is added where the camera is there: '
                        f"leave it out, or have no such words added: {off}"
                    )

    def debiased(self, prompt: str, view: View) -> str:
        """The prompt without the phrases that contradict the view."""
        for phrase in self.front_only if view != "front" else ():
            prompt = re.sub(rf"\b{re.escape(phrase)}\b", "", prompt, flags=re.IGNORECASE)
        return " ".join(prompt.split()).replace(" ,", ",")


def view_texts(
    prompt: str, prompts: PromptConfig, views: ViewConfig, backgrounds: Sequence[str], avoid_opposite: bool
) -> dict[tuple[View, str], dict[Slot, str]]:
    """The text of each slot, by view and background.

    Args:
        prompt: Prompt as the user wrote it.
        backgrounds: Names of background colours; "" has no words.
        avoid_opposite: Take the opposite view's text for NEGATIVE (Perp-Neg).
    """
    rows: dict[tuple[View, str], dict[Slot, str]] = {}
    for view in VIEWS:
        source = replace(prompts, source_prompt=views.debiased(prompts.source_prompt or prompt, view))
        for background in backgrounds:
            behind = f"{background} background" if background else ""
            rows[view, background] = slot_texts(
                views.debiased(prompt, view), source, views.words(view), behind
            )
            # The adapter knows the camera itself; its words need not say the view.
            rows[view, background][Slot.ADAPTER] = slot_texts(prompt, prompts, behind)[Slot.TARGET]
    if avoid_opposite:
        for (view, background), row in rows.items():
            row[Slot.NEGATIVE] = rows[OPPOSITE[view], background][Slot.TARGET]
    return rows
