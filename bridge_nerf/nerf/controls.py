"""The viewer's panel: change the prompt while training goes on.

A text box calls back on every keystroke, and callbacks wait for the training step to end. So boxes call
nobody: the Apply button notes their values, and the next training step reads the note.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nerfstudio.viewer.viewer_elements import ViewerControl, ViewerDropdown, ViewerSlider, ViewerText
from torch import nn

from bridge_nerf.distillation.registry import guidance_of
from bridge_nerf.errors import UserError
from bridge_nerf.guidance.config import GuidanceConfig, StageChoice
from bridge_nerf.guidance.relevance import check_relevant
from bridge_nerf.guidance.views import ViewConfig
from bridge_nerf.nerf.elements import Markdown, PressButton, plain
from bridge_nerf.nerf.shown_run import OVER, ShownRun
from bridge_nerf.nerf.viewer_access import OwnPages
from bridge_nerf.nerf.viewer_defaults import PanelDefaults
from bridge_nerf.nerf.viewer_repairs import Repairs

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer


LABELS = {"target_descriptors": "Target", "source_descriptors": "Source", "guidance_scale": "Guidance"}
"""Setting -> its name on the panel."""


@dataclass(frozen=True)
class LiveSettings:
    """Settings that may be changed while training goes on."""

    prompt: str
    target_descriptors: str
    source_descriptors: str
    guidance_scale: float
    stage: StageChoice = "auto"

    @classmethod
    def of(cls, prompt: str, objective: str, guidance: GuidanceConfig) -> LiveSettings:
        """The settings of a configuration."""
        words, scale = guidance.prompts, guidance.objective.guidance_scale
        scale = guidance_of(objective) if scale is None else scale
        return cls(prompt, words.target_descriptors, words.source_descriptors, scale, guidance.stage)

    def applied(self, guidance: GuidanceConfig) -> GuidanceConfig:
        """A copy of the configuration with these settings, but for the prompt."""
        words = replace(
            guidance.prompts,
            target_descriptors=self.target_descriptors,
            source_descriptors=self.source_descriptors,
        )
        objective = replace(guidance.objective, guidance_scale=self.guidance_scale)
        return replace(guidance, prompts=words, objective=objective, stage=self.stage)

    def check_relevant(self, objective: str, guidance: GuidanceConfig) -> None:
        """Raises UserError where what differs from the configuration would change nothing."""
        now = LiveSettings.of("", objective, guidance)
        changed = [name for name in LABELS if getattr(self, name) != getattr(now, name)]
        flags = [f"pipeline.{name.replace('_', '-')}" for name in changed]
        try:
            check_relevant([(objective, self.applied(guidance))], flags, "pipeline.")
        except UserError as error:
            message = str(error)
            for name, label in LABELS.items():
                message = message.replace(f"--pipeline.{name.replace('_', '-')}", label)
            raise UserError(message) from None

    def check_views(self, view: ViewConfig) -> None:
        """Raises UserError for a text that says a view, which are words of the camera."""
        view.check_text(self.prompt, "Prompt")
        view.check_text(self.target_descriptors, LABELS["target_descriptors"])
        view.check_text(self.source_descriptors, LABELS["source_descriptors"])


class InitialCamera(ViewerControl):
    """The first camera of whoever opens the viewer, in front of the object: viser's own stands inside it."""

    POSITION = (3.3, 0.0, 0.9)

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)

        from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO

        @self.viser_server.on_client_connect
        def _(client: Any) -> None:
            client.camera.position = tuple(VISER_NERFSTUDIO_SCALE_RATIO * x for x in self.POSITION)
            client.camera.look_at = (0.0, 0.0, 0.0)


class Controls(nn.Module):
    """The panel's elements; a module because nerfstudio looks for them in modules alone. The name of the
    attribute that holds it is the folder's in the viewer."""

    def __init__(self, settings: LiveSettings) -> None:
        super().__init__()
        self.a_prompt = ViewerText("Prompt", settings.prompt)
        self.b_target = ViewerText(
            "Target", settings.target_descriptors, hint="Added to say what it should be"
        )
        self.c_source = ViewerText(
            "Source", settings.source_descriptors, hint="Added to say what it is (stage two)"
        )
        scale = float(settings.guidance_scale)
        self.d_guidance = ViewerSlider("Guidance", scale, 0.0, max(200.0, 2 * scale), 0.5)
        self.e_stage: ViewerDropdown[StageChoice] = ViewerDropdown(
            "Stage", settings.stage, ["auto", "1", "2"]
        )
        self.f_apply = PressButton("Apply", lambda _: self._press())
        self.g_message = Markdown("Message")
        self.run = ShownRun()
        self.own_pages = OwnPages()
        self.initial_camera = InitialCamera()
        self.panel_defaults = PanelDefaults()
        self.repairs = Repairs()
        self._noted: LiveSettings | None = None
        self.message = ""
        """The line that is shown under the button."""

    def _press(self) -> None:
        if (state := self.run.state) in OVER:
            self.show(f"not applied: {OVER[state]}", self.run.resuming("with other words, change them in"))
            return
        self.show("applied when training goes on" if state == "paused" else "applied at the next step")
        self._noted = LiveSettings(
            self.a_prompt.value,
            self.b_target.value,
            self.c_source.value,
            float(self.d_guidance.value),
            self.e_stage.value,
        )

    def take(self) -> LiveSettings | None:
        """The settings that were applied since the last call."""
        noted, self._noted = self._noted, None
        return noted

    def refuse_late(self) -> None:
        """Say that what was applied after the last step came too late."""
        if self.take() is not None:
            self._press()

    def show(self, message: str, more: str = "") -> None:
        """Show a line under the button.

        Args:
            more: Markdown to go below it.
        """
        self.message = message
        self.g_message.content = f"{plain(message)}\n\n{more}"
