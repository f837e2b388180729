"""The numbers of all objectives. Imports no torch, so that command lines answer at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bridge_nerf.errors import UserError
from bridge_nerf.flags import SHARE, STEP, Range, check_flags

SCALE = Range(-1e6, 1e6)
"""Range of a guidance or scale: single precision ends soon after."""


@dataclass
class ObjectiveConfig:
    """The numbers of all objectives; each reads its own."""

    RANGES: ClassVar[dict[str, Range]] = {
        "guidance_scale": SCALE,
        "guidance_rescale": SHARE,
        "gradient_clip": Range(0, 1e6),
        "ode_steps": Range(1, 1000),
        "negative_share": SHARE,
        "negative_anneal_steps": STEP,
        "stage_start": STEP,
        "stage_two_scale": SCALE,
        "stage_two_anchor": SCALE,
        "stage_two_guidance": SCALE,
        "stage_two_final_weight": SCALE,
        "stage_two_anneal_steps": STEP,
    }

    guidance_scale: float | None = None
    """Classifier-free guidance NULL + s (TARGET - NULL); 1 is none. None is that of the objective's authors,
    as in 40 for sds and 7.5 for vsd."""
    weighting: str = "own"
    """w(t) of an objective with one stage and of the first of two: sigma^2, sigma/alpha, sigma^3/alpha or
    uniform instead of its own."""
    guidance_rescale: float = 0.0
    """Share of rescaled guidance in the first stage's target (sds, nfsd, vsd, bridge); 0 is none."""
    unit_norm: bool = False
    """Divide every gradient by its length."""
    gradient_clip: float = 0.0
    """Largest absolute entry of a gradient; 0 sets no limit."""
    ode_steps: int = 10
    """Network calls on each way along a probability flow (ism, sdi, bridge-ode, vsd-bridge)."""
    negative_share: float = 0.0
    """Share of csd's source that is NEGATIVE instead of NULL once `negative_anneal_steps` are over."""
    negative_anneal_steps: int = 0
    """Steps over which that share grows from 0, linearly."""
    stage_start: int = 500
    """Absolute step at which stage two takes over (bridge, vsd-bridge); 0 leaves stage one out."""
    stage_two_scale: float = 40.0
    """s in the bridge's stage two, s (TARGET - SOURCE) + a (SOURCE - NOISE)."""
    stage_two_anchor: float = 0.0
    """a above: 0 is the paper's stage two, 1 is SDS with the source prompt as its negative prompt."""
    stage_two_guidance: float = 1.0
    """Guidance of TARGET in the bridge's stage two; 1, the paper's choice, is none."""
    stage_two_final_weight: float = 1.0
    """Stage two's gradient is multiplied with 1 at its start and with this once annealing is over."""
    stage_two_anneal_steps: int = 0
    """Steps of stage two until its weight has reached the final one, linearly."""

    def check(self) -> None:
        """Raises UserError for numbers that make no sense. Not done when made, as command lines do."""
        from bridge_nerf.distillation.weighting import WEIGHTINGS  # torch: too slow for --help

        check_flags(self)
        if self.weighting not in ("own", *WEIGHTINGS):
            raise UserError(f"unknown weighting {self.weighting!r}; choose own, {', '.join(WEIGHTINGS)}")
