"""Objectives as values. Every one moves x down the gradient

    w(t) (eps_target - eps_source)

and is the choice of target, source, weighting and transport. How they differ is subtraction:
SDS(s) - s CSD = (NULL + s (TARGET - NULL) - NOISE) - s (TARGET - NULL) = NULL - NOISE.
"""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.distillation.epsilon import (
    ADAPTER,
    NEGATIVE,
    NOISE,
    NULL,
    PREVIOUS,
    SOURCE,
    TARGET,
    Epsilon,
    Slot,
    guided,
)
from bridge_nerf.distillation.problem import Problem
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.distillation.transforms import GradientTransform
from bridge_nerf.distillation.transport import FullBridge, Invert, Jump, Rescaled, Transport, TwoPoint
from bridge_nerf.distillation.weighting import (
    Weighting,
    chi,
    psi_over_chi,
    sigma_cubed_over_alpha,
    sigma_over_alpha,
    sigma_squared,
    uniform,
)
from bridge_nerf.errors import UserError
from bridge_nerf.schedules import expand_like


class Gradient(NamedTuple):
    """The direction in which an objective moves x."""

    value: Float[Tensor, "b *dims"]
    """w(t) (eps_target - eps_source) after the transforms, to be descended."""
    pull: Float[Tensor, "b *dims"]
    """eps_target - eps_source: zero where the objective wants nothing more of x."""


@dataclass(frozen=True)
class Objective:
    """A score-distillation method: its choice of target, source, weighting and transport."""

    target: Epsilon
    """Estimate for where x should go."""
    source: Epsilon
    """Estimate for where x is now."""
    weighting: Weighting = sigma_squared
    """w(t)."""
    transport: Transport = field(default_factory=Jump)
    """Way to the point at which target and source are compared."""
    transforms: tuple[GradientTransform, ...] = ()
    """Functions that the weighted gradient goes through, in this order."""

    @property
    def slots(self) -> frozenset[Slot]:
        """Every slot that target, source or transport names."""
        return self.target.slots | self.source.slots | self.transport.slots

    @torch.no_grad()
    def gradient(self, problem: Problem, sample: Sample) -> Gradient:
        """w(t) (eps_target - eps_source) of each row of the sample, without a graph."""
        pull = self.transport(problem, self.target, self.source, sample)
        value = expand_like(self.weighting(problem.schedule, sample.t), pull) * pull
        for transform in self.transforms:
            value = transform(value)
        return Gradient(value, pull)


def sds(guidance_scale: float) -> Objective:
    """Score distillation sampling, the paper's stage one: the noise stands in for the source.

    DreamFusion (Poole et al. 2022, eq. 3) with guidance.
    """
    return Objective(target=guided(guidance_scale), source=NOISE)


def nfsd(guidance_scale: float) -> Objective:
    """Noise-free score distillation (Katzir et al. 2023).

    target - source = s (TARGET - NULL) + NULL - NEGATIVE, at t < 0.2 T without NEGATIVE: NULL denoises there.
    """
    return Objective(target=guided(guidance_scale), source=NEGATIVE.from_t(0.2))


def csd(scale: float) -> Objective:
    """Classifier score distillation (Yu et al. 2023): s (TARGET - NULL)."""
    return Objective(target=scale * TARGET, source=scale * NULL)


def vsd(guidance_scale: float) -> Objective:
    """Variational score distillation (ProlificDreamer, Wang et al. 2023): the source is learned."""
    return Objective(target=guided(guidance_scale), source=ADAPTER)


def noisier(problem: Problem, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The same images at the noisier time t + 0.1 (t - 0.02 T)."""
    ahead = 0.1 * (t - 0.02 * problem.schedule.num_timesteps).clamp(min=0)
    return x, (t + ahead.long()).clamp(max=problem.schedule.num_timesteps - 1)


def asd(guidance_scale: float) -> Objective:
    """Asynchronous score distillation (ScaleDreamer, Ma et al. 2024): the source is TARGET at a noisier t."""
    return Objective(guided(guidance_scale), TARGET, transport=TwoPoint(noisier))


def reference(problem: Problem, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The image that an edit starts from, at the same time; UserError where the problem has none."""
    if problem.reference is None:
        raise UserError("this objective edits an image: give a reference image, or choose another objective")
    return problem.reference.expand_as(x), t


def dds(guidance_scale: float) -> Objective:
    """Delta denoising score (Hertz et al. 2023): the source is what SOURCE says of the reference."""
    transport = TwoPoint(reference, needs_reference=True)
    return Objective(guided(guidance_scale), guided(guidance_scale, SOURCE), uniform, transport)


def pds(guidance_scale: float) -> Objective:
    """Posterior distillation sampling (Koo et al. 2024): chi (DDS + psi / chi (x - reference))."""
    transport = TwoPoint(reference, psi_over_chi, needs_reference=True)
    return replace(dds(guidance_scale), weighting=chi, transport=transport)


def ism(guidance_scale: float, steps: int, last: float = 0.08) -> Objective:
    """Interval score matching (LucidDreamer, Liang et al. 2023).

    As its code: x is inverted under NULL, the last step is `last` T long, the weight is sigma / alpha. Not as
    its code: NULL guides the target too, where the code has a negative prompt.
    """
    return Objective(guided(guidance_scale), PREVIOUS, sigma_over_alpha, Invert(NULL, steps, last))


def sdi(guidance_scale: float, steps: int) -> Objective:
    """Score distillation via inversion (Lukoianov et al. 2024): the noise is found, not drawn.

    The gradient is x - x0_target. As the paper has it, x_t lies at the level t at which the target is asked;
    the authors' code inverts up to 0.1 T further and calls the result x_t.
    """
    return Objective(guided(guidance_scale), NOISE, sigma_over_alpha, Invert(guided(-guidance_scale), steps))


def full_bridge(source: Epsilon, steps: int, weighting: Weighting = sigma_over_alpha) -> Objective:
    """Both probability-flow ODEs, up under `source` and down under TARGET without guidance.

    With sigma / alpha the gradient is x - landing, the paper's bridge before any approximation.
    """
    return Objective(TARGET, source, weighting, FullBridge(steps))


def vsd_bridge(steps: int) -> Objective:
    """The full bridge from the adapter's distribution, weighted sigma^2 (x - landing).

    The best row of the paper's table; the authors switch to it from `vsd`.
    """
    return full_bridge(ADAPTER, steps, sigma_cubed_over_alpha)


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


def rescaled(objective: Objective, share: float) -> Objective:
    """The same objective with rescaled guidance.

    Raises:
        UserError: Its target is not a single estimate, or not reached by `Jump`.
    """
    total = sum(term.weight for term in objective.target.terms)
    if not isinstance(objective.transport, Jump) or abs(total - 1) > 1e-9:
        raise UserError(
            f"guidance_rescale {share:g} needs one guided estimate, reached in one step: "
            "use it with sds, nfsd, vsd or bridge, or set it to 0"
        )
    return replace(objective, transport=Rescaled(share))
