"""The run that a viewer shows, as its panel sees it: whether it trains, and how it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from nerfstudio.viewer.viewer_elements import ViewerControl

from bridge_nerf.nerf.elements import command, plain
from bridge_nerf.nerf.engine.commands import noted

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer

State = Literal["training", "paused", "completed", "shown"]
"""Of a trainer; "shown" is a finished run in ns-viewer, which has none."""
OVER: dict[State, str] = {"completed": "training has ended", "shown": "nothing trains here"}
"""States in which no step will be made any more, and what is said of them."""


class ShownRun(ViewerControl):
    """State of the run, and the command that goes on with it."""

    viewer: Viewer | None = None  # type: ignore[assignment]

    @property
    def state(self) -> State:
        """What happens with the run; "training" where there is no viewer."""
        if self.viewer is None:
            return "training"
        return "shown" if self.viewer.trainer is None else self.viewer.trainer.training_state

    def resuming(self, intent: str, *flags: str) -> str:
        """Markdown that says with which command the run goes on.

        Args:
            intent: What for.
            flags: To be added to the command.
        """
        resume = self.viewer and noted(self.viewer.log_filename.parent, "resume")
        if not resume:
            return plain(f"The commands.txt of this run, which says how it is resumed {intent}, is missing.")
        return f"{plain(f'To resume it {intent}:')}\n\n{command(' '.join([resume, *flags]))}"
