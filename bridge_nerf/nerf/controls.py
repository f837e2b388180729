"""The viewer's panel: change the prompt while it trains.

A text box calls back on every keystroke, and callbacks wait for the training step to end. So boxes call
nobody: the Apply button notes what they say, and the next training step reads the note.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nerfstudio.viewer.viewer_elements import (
    ViewerButton,
    ViewerControl,
    ViewerDropdown,
    ViewerSlider,
    ViewerText,
)
from torch import nn

from bridge_nerf.nerf.guidance_config import StageChoice, Wishes

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer


class FirstLook(ViewerControl):
    """Whoever opens the viewer sees the object from its front: viser's own first camera stands inside it."""

    POSITION = (3.3, 0.0, 0.9)

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)

        from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO

        @self.viser_server.on_client_connect
        def _(client: Any) -> None:
            client.camera.position = tuple(VISER_NERFSTUDIO_SCALE_RATIO * x for x in self.POSITION)
            client.camera.look_at = (0.0, 0.0, 0.0)


class Controls(nn.Module):
    """A module only because nerfstudio looks for viewer elements in modules; its attribute name is the
    folder's."""

    def __init__(self, wishes: Wishes) -> None:
        super().__init__()
        self.a_prompt = ViewerText("Prompt", wishes.prompt)
        self.b_target = ViewerText("Target", wishes.target_descriptors, hint="Added to say what it should be")
        self.c_source = ViewerText(
            "Source", wishes.source_descriptors, hint="Added to say what it is (stage two)"
        )
        scale = float(wishes.guidance_scale)
        self.d_guidance = ViewerSlider("Guidance", scale, 0.0, max(200.0, 2 * scale), 0.5)
        self.e_stage: ViewerDropdown[StageChoice] = ViewerDropdown("Stage", wishes.stage, ["auto", "1", "2"])
        self.f_apply = ViewerButton("Apply", cb_hook=lambda _: self._note())
        self.g_message = ViewerText("Message", "", disabled=True)
        self.first_look = FirstLook()
        self._noted: Wishes | None = None

    def _note(self) -> None:
        self._noted = Wishes(
            self.a_prompt.value,
            self.b_target.value,
            self.c_source.value,
            float(self.d_guidance.value),
            self.e_stage.value,
        )

    def take(self) -> Wishes | None:
        """What was applied since the last call."""
        noted, self._noted = self._noted, None
        return noted

    def say(self, message: str) -> None:
        """Show a line under the button."""
        self.g_message.value = message
