"""The viewer's inspector: what the prior makes of the current view, and where the objective pulls it.

A press of the button is noted, and the next training step answers it; while no step is made, the press itself
does. Nothing that training depends on changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from nerfstudio.utils.colormaps import ColormapOptions, apply_colormap
from nerfstudio.viewer.viewer_elements import ViewerSlider
from torch import Tensor, nn

from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.distillation.inspection import Inspection
from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.errors import UserError, first_line
from bridge_nerf.nerf.elements import Markdown, Picture, PressButton, grid, plain
from bridge_nerf.nerf.scene.orbit import Orbit
from bridge_nerf.nerf.shown_run import ShownRun
from bridge_nerf.pixels import to_bytes

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer
    from viser import ClientHandle

SOURCES = {
    Slot.SOURCE: "source",
    Slot.ADAPTER: "source (adapter)",
    Slot.NEGATIVE: "source (negative prompt)",
    Slot.NULL: "source (empty prompt)",
    Slot.NOISE: "source (the added noise)",
}
"""Titles of what stands for the source."""


class Look(NamedTuple):
    """What is to be inspected."""

    poses: Float[Tensor, "1 3 4"]
    """Camera-to-world matrix."""
    fov: float
    """Vertical opening angle, degrees."""
    t: float
    """Diffusion time, as a fraction of T."""

    @property
    def orbit(self) -> Orbit:
        """The camera on its orbit, by which its words are chosen."""
        return Orbit.of(self.poses, self.fov)


class Inspected(NamedTuple):
    """The answer to a look."""

    says: str
    """Step, time, and place of the camera, in one line."""
    pictures: Sequence[Picture]


def drawn(
    prior: ImagePrior, x: Float[Tensor, "1 c h w"], seen: Inspection, texts: Mapping[Slot, str]
) -> list[Picture]:
    """The latents as the prior has them, the pull, and both guesses.

    Raises:
        UserError: A number is not finite.
    """

    def picture(title: str, words: str, latents: Float[Tensor, "1 c h w"]) -> Picture:
        return Picture(title, words, to_bytes(prior.decode(latents).float())[0])

    return [
        picture("render", "", x),
        heat(seen.gradient),
        picture("target", texts[Slot.TARGET], seen.target),
        picture(SOURCES[seen.source_slot], texts.get(seen.source_slot, ""), seen.source),
    ]


def heat(gradient: Float[Tensor, "1 c h w"]) -> Picture:
    """The gradient's length at each latent, from none (blue) to the largest (red).

    Raises:
        UserError: It is not finite.
    """
    length = gradient.float().norm(dim=1)[0]
    if not torch.isfinite(most := length.max()):
        raise UserError("the gradient is not finite: lower the learning rate or the guidance")
    share = length / most if most > 0 else length
    colours = apply_colormap(share[..., None].cpu(), ColormapOptions("turbo")).float()
    return Picture("pull", f"0 (blue) to {most:.2g} (red)", to_bytes(colours.permute(2, 0, 1)[None])[0])


class Inspector(nn.Module):
    """The panel's elements; see `Controls`.

    Args:
        inspect: Answers a look at an absolute step.
        usual: Camera of a look that no visitor asked for; its opening angle is that of all.
    """

    def __init__(self, inspect: Callable[[Look, int], Inspected], usual: Orbit) -> None:
        super().__init__()
        self.a_time = ViewerSlider("t (% of T)", 50, 2, 98, 1, hint="Diffusion time: how much noise")
        self.b_inspect = PressButton("Inspect", self._press)
        self.c_answer = Markdown("Answer")
        self.run = InspectedRun(self)
        self._inspect, self._usual = inspect, usual
        self._asked: Look | None = None

    def _press(self, visitor: ClientHandle | None) -> None:
        if self.run.state == "shown":
            why = plain("Nothing trains here, so that no prior is loaded to inspect this with.")
            resume = self.run.resuming("in a viewer that waits for you", "--start-paused", "True")
            self.c_answer.content = f"{why} {resume}"
            return
        look = self._look(visitor)
        self.c_answer.content = plain("The next step answers this.")
        self._asked = look  # the last: a step may answer at once
        self.answer_idly()

    def _look(self, visitor: ClientHandle | None) -> Look:
        t = self.a_time.value / 100
        if visitor is None or self.run.viewer is None:
            return Look(self._usual.poses(), self._usual.fov.item(), t)
        # With the opening angle of training: the browser's is wider than what the prior is shown.
        return Look(self.run.viewer.get_camera_state(visitor).c2w.float()[None], self._usual.fov.item(), t)

    def answer_idly(self) -> None:
        """Answer what was asked where no step is made that would."""
        viewer = self.run.viewer
        if self._asked is None or viewer is None or self.run.state == "training":
            return
        assert viewer.trainer is not None
        with viewer.trainer.train_lock:
            self.answer(viewer.trainer.step)

    def answer(self, step: int) -> None:
        """Show what was asked for since the last call; nobody else may use the model meanwhile.

        Args:
            step: Absolute.
        """
        look, self._asked = self._asked, None
        if look is None:
            return
        try:
            says, pictures = self._inspect(look, step)
        except Exception as error:  # shown, not raised: a look must not end a training
            self.c_answer.content = plain(f"Not inspected: {first_line(error)}")
        else:
            self.c_answer.content = f"{grid(pictures)}\n\n{plain(says)}"


class InspectedRun(ShownRun):
    """Lets a pause answer what its last step has not."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        viewer.pause_train.on_click(lambda _: self._inspector.answer_idly())
