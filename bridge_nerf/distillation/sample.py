"""A batch of images with the diffusion times and the noise at which a step looks at them."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from bridge_nerf.schedules import NoiseSchedule


@dataclass(frozen=True, eq=False)
class Sample:
    """Clean images or latents, and what carries them to a noise level.

    Args:
        x: Clean images or latents.
        t: Diffusion times in [0, T), which may differ from row to row.
        noise: Unit Gaussian.
    """

    x: Float[Tensor, "b *dims"]
    t: Int[Tensor, "b"]
    noise: Float[Tensor, "b *dims"]

    def x_t(self, schedule: NoiseSchedule) -> Float[Tensor, "b *dims"]:
        """The noisy images alpha x + sigma noise."""
        return schedule.add_noise(self.x, self.noise, self.t)
