"""Which way an object faces, as the prior sees it.

An object grows its front where chance first breaks the symmetry of the blob it starts from, and one that
stands back to front stays so: nothing small leads from there to its turned copy. The prior knows better. Its
denoising error under the words "front view" and "back view" classifies a view (Diffusion Classifier, Li et
al. 2023), and turning a whole object costs nothing.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.guidance.views import ViewConfig
from bridge_nerf.nerf.scene.orbit import Orbit, OrbitConfig

TIMES = (0.775, 0.8, 0.825, 0.85, 0.875, 0.9)
"""Diffusion times, as fractions of T. At less noise the error is about details, which are not there yet: of
a duck that stood back to front it spoke at these times only. At more it hardly depends on the words."""
CERTAINTY = 1.0
"""Standard errors by which an object must be better described the other way round. A round one is not, and to
turn it again and again would undo what it has begun to show."""
SPREAD = (-2 / 3, 0.0, 2 / 3)
"""Azimuths looked from, as shares of the angle that still counts as the front, or the back."""


def front_and_back(cameras: OrbitConfig, view: ViewConfig) -> Orbit:
    """Cameras that look at the front, then as many right opposite of them, at the middle of the training
    cameras' elevations and distances."""
    within = min(view.front_angle, 180 - view.back_angle)
    front = torch.tensor(SPREAD) * within
    azimuth = torch.cat([front, front + 180])

    def middle(ends: tuple[float, float]) -> Tensor:
        return torch.full_like(azimuth, sum(ends) / 2)

    ranges = (cameras.elevation_range, cameras.distance_range, cameras.fov_range)
    return Orbit(azimuth, *(middle(ends) for ends in ranges))


def back_to_front(own: Float[Tensor, "k b"], opposite: Float[Tensor, "k b"]) -> bool:
    """True where the denoising errors of views under their own words exceed, beyond chance, those under the
    words of the opposite view at the same noise.

    Args:
        own: Errors of b views at k noise levels, under the words of the cameras that they are from.
        opposite: The same under the words of the cameras right opposite.
    """
    excess = (own - opposite).mean(1)
    return bool(excess.mean() > CERTAINTY * excess.std() / len(excess) ** 0.5)
