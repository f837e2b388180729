"""What does not work in nerfstudio's viewer with today's packages, made to work."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import splines.quaternion
from nerfstudio.viewer.viewer_elements import ViewerControl
from splines.quaternion import DeCasteljau, UnitQuaternion, canonicalized, slerp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nerfstudio.viewer.viewer import Viewer


MOVING_S = 0.1
"""Seconds after a camera's last move for which nerfstudio counts it as moving."""
LONGEST_REST_S = 1.0
"""Seconds for which training rests at most after a step, while somebody moves."""


class KochanekBartels(splines.quaternion.KochanekBartels):
    """The rotations of a camera path, of two keyframes too.

    splines 0.3.0, which nerfstudio pins, asks whether an empty array is true where there are two rotations,
    which is an error from NumPy 2.2 on, and 0.3.2 still asks. Between two there is nothing but the arc.
    """

    def __init__(self, quaternions: Sequence[UnitQuaternion], **options: Any) -> None:
        if len(quaternions) == 2 and options.get("endconditions") != "closed":
            first, last = canonicalized(quaternions)
            DeCasteljau.__init__(self, [[slerp(first, last, share / 3) for share in range(4)]])
        else:
            super().__init__(quaternions, **options)


class SceneUpdate:
    """Tells the viewer of a step that was made, and lets training rest while a visitor turns the object.

    nerfstudio's training stands still until nobody moves any more. Here it rests as long as the step took, so
    that turning costs half of its pace at most, and pictures come meanwhile.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer, self._update, self._last = viewer, viewer.update_scene, time.monotonic()

    def __call__(self, step: int, num_rays_per_batch: int | None = None) -> None:
        """Take nerfstudio's arguments."""
        now = time.monotonic()
        end = now + min(now - self._last, LONGEST_REST_S)
        while self._moving() and time.monotonic() < end:
            time.sleep(0.01)
        if self._moving():  # whose moves let the scene be drawn anyway
            self._viewer.step = step
            self._viewer.update_step(step)
        else:
            self._update(step, num_rays_per_batch)
        self._last = time.monotonic()

    def _moving(self) -> bool:
        return time.time() - self._viewer.last_move_time < MOVING_S


class Repairs(ViewerControl):
    """Repairs a viewer, before anybody can use it."""

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        splines.quaternion.KochanekBartels = KochanekBartels
        viewer.update_scene = SceneUpdate(viewer)
