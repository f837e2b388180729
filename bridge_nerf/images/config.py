"""The configuration of an image optimisation, as it stands on the command line and in what an image notes.

Nothing here imports torch at its top, so that `--help` answers at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

from bridge_nerf.flags import SHARE, SIZE, STEPS, Range
from bridge_nerf.guidance.config import FLAT, GuidanceConfig

Task = Literal["image", "paint", "illusion"]


@dataclass
class ImageConfig:
    """Every number and added word of an image optimisation. The defaults are those of the paper's code."""

    RANGES: ClassVar[dict[str, Range]] = {
        "steps": STEPS,
        "learning_rate": SIZE,
        "weight_decay": SIZE,
        "decay_start": SHARE,
        "initial_scale": SIZE,
        "adapter_rate": SIZE,
    }

    guidance: Annotated[GuidanceConfig, FLAT] = field(default_factory=GuidanceConfig)
    """Distillation."""
    canvas: str = "latents"
    """Parametrisation of the image: latents, pixels, network (a small one of coordinates), or a registered
    one."""
    steps: int = 1000
    """Steps in all; those of stages and annealing that are not given keep their shares of them. The defaults
    shown here are the paper's: each kind of prior, task and preset has its own."""
    learning_rate: float = 0.01
    """AdamW's (betas 0.9 and 0.99) on the canvas."""
    weight_decay: float = 0.0
    """AdamW's on the canvas; the authors' release has 0.01, which draws its latents towards zero."""
    decay_start: float = 1.0
    """Share of the steps after which the learning rate falls linearly to zero; 1 never lowers it."""
    initial_scale: float = 1.0
    """Standard deviation of the noise that the canvas starts from."""
    adapter_rate: float = 1e-4
    """Learning rate of VSD's adapter."""

    def stretched(self, steps: int) -> ImageConfig:
        """The same in another number of steps: what happens at a step keeps its share of the run."""

        def moved(step: int) -> int:
            return round(step * steps / self.steps)

        objective, times = self.guidance.objective, self.guidance.times
        start = moved(objective.stage_start)
        if objective.stage_start < self.steps:  # rounding must not leave a short run without its last stage
            start = min(start, max(steps - 1, 0))
        objective = replace(
            objective,
            stage_start=start,
            stage_two_anneal_steps=moved(objective.stage_two_anneal_steps),
            negative_anneal_steps=moved(objective.negative_anneal_steps),
        )
        times = replace(times, anneal_begin=moved(times.anneal_begin), anneal_steps=moved(times.anneal_steps))
        return replace(self, steps=steps, guidance=replace(self.guidance, objective=objective, times=times))
