"""Methods as values. Every one moves x down the gradient

    w(t) (eps_target - eps_source)

and is the choice of target, source, weighting and transport. How they differ is subtraction:
SDS(s) - s CSD = (NULL + s (TARGET - NULL) - NOISE) - s (TARGET - NULL) = NULL - NOISE.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge_nerf.distillation.epsilon import NOISE, SOURCE, Epsilon, guided
from bridge_nerf.distillation.problem import Problem
from bridge_nerf.distillation.transport import Jump, Transport
from bridge_nerf.distillation.weighting import Weighting, sigma_squared
from bridge_nerf.schedules import NoiseSchedule, per_sample


@dataclass(frozen=True)
class Objective:
    """A score-distillation method."""

    target: Epsilon
    """Where x should go."""
    source: Epsilon
    """Where x is now."""
    weighting: Weighting = sigma_squared
    transport: Transport = field(default_factory=Jump)

    @torch.no_grad()
    def pull(
        self,
        problem: Problem,
        x: Float[Tensor, "b *dims"],
        t: Int[Tensor, "b"],
        noise: Float[Tensor, "b *dims"],
    ) -> Float[Tensor, "b *dims"]:
        """eps_target - eps_source: zero where the objective wants nothing more of x."""
        return self.transport(problem, self.target, self.source, x, t, noise)

    def weigh(
        self, pull: Float[Tensor, "b *dims"], schedule: NoiseSchedule, t: Int[Tensor, "b"]
    ) -> Float[Tensor, "b *dims"]:
        """w(t) times the pull, sample by sample."""
        return per_sample(self.weighting(schedule, t), pull) * pull

    def gradient(
        self,
        problem: Problem,
        x: Float[Tensor, "b *dims"],
        t: Int[Tensor, "b"],
        noise: Float[Tensor, "b *dims"],
    ) -> Float[Tensor, "b *dims"]:
        """w(t) (eps_target - eps_source), to be descended.

        Args:
            x: Clean images or latents; no graph is kept.
            t: Diffusion times in [0, T), which may differ from sample to sample.
            noise: Unit Gaussian.
        """
        return self.weigh(self.pull(problem, x, t, noise), problem.schedule, t)


def sds(guidance_scale: float) -> Objective:
    """Score distillation sampling, the paper's stage one: the noise stands in for the source.

    DreamFusion (Poole et al. 2022, eq. 3) with guidance.
    """
    return Objective(target=guided(guidance_scale), source=NOISE)


def bridge_second_stage(scale: float, anchor: float = 0.0, guidance_scale: float = 1.0) -> Objective:
    """The paper's stage two: a prompt that says what is wrong with the image takes the place of the noise.

    target - source = s (TARGET - SOURCE) + a (SOURCE - NOISE).

    The source prompt is a guess that nobody updates: the pull of s (TARGET - SOURCE) does not fade once the
    image has left what it says. SOURCE - NOISE pulls back to it: between equal round Gaussians x rests at
    m_source + (s / a) (m_target - m_source). An annealed weight (`Stage`) lets every pull end.

    Args:
        scale: s.
        anchor: a. 0 is the paper's stage two; 1 is SDS at guidance s with SOURCE as its negative prompt.
        guidance_scale: Guides TARGET; 1, the paper's choice, asks NULL nothing.
    """
    return Objective(
        target=scale * guided(guidance_scale) + anchor * SOURCE,
        source=scale * SOURCE + anchor * NOISE,
    )
