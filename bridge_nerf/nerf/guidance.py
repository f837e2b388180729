"""The prior's opinion of rendered pictures: the one place where the NeRF meets the distillation core.

Nothing here is an `nn.Module`: neither the prior nor its schedules can end up in a checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.distillation.loss import Distilled, distillation_loss
from bridge_nerf.distillation.prior import Condition, ImagePrior
from bridge_nerf.distillation.problem import Problem
from bridge_nerf.distillation.stages import Active, StageOptions, Stages, stages_for
from bridge_nerf.errors import UserError
from bridge_nerf.nerf.orbit import Orbit
from bridge_nerf.nerf.prompts import VIEWS, ViewConfig, compose
from bridge_nerf.schedules import TimestepRange
from bridge_nerf.seeding import generator

StageChoice = Literal["auto", "1", "2"]


@dataclass
class GuidanceConfig:
    """How pictures are judged."""

    prior: str = "auto"
    """"auto" (Stable Diffusion on a GPU, else the toybox), "toybox", the folder of a Stable Diffusion pipeline, or a hub
    id."""
    objective: str = "bridge"
    """Method: "sds", or "bridge", the paper's two stages."""
    target_descriptors: str = "detailed high resolution, high quality, sharp"
    """Added to the prompt to say what the picture should be."""
    source_descriptors: str = (
        "oversaturated, smooth, pixelated, cartoon, foggy, hazy, blurry, bad structure, noisy, malformed"
    )
    """Added to the prompt to say what the picture is and should not be ("bridge", stage two)."""
    guidance_scale: float = 40.0
    """Classifier-free guidance NULL + s (TARGET - NULL) of stage one."""
    stage: StageChoice = "auto"
    """"auto" changes to stage two at `stage_start`; "1" and "2" stay in that stage."""
    stage_start: int = 700
    """Absolute step at which stage two begins."""
    stage_two_scale: float = 40.0
    """s in stage two's s (TARGET - SOURCE) + a (SOURCE - NOISE)."""
    stage_two_anchor: float = 0.0
    """a in the above: 0 is the paper's stage two, 1 is SDS with the source prompt as negative prompt."""
    stage_two_guidance: float = 1.0
    """Guidance of TARGET in stage two; 1, the paper's choice, is none."""
    stage_two_final_weight: float = 1.0
    """Stage two's gradient is multiplied with 1 at its start and with this after `stage_two_anneal_steps`."""
    stage_two_anneal_steps: int = 0
    """Steps over which that weight changes linearly."""
    timestep_minimum: float = 0.02
    """Smallest diffusion time drawn, as a fraction of T."""
    timestep_maximum: float = 0.98
    """Largest diffusion time drawn at step 0, as a fraction of T."""
    timestep_final_maximum: float = 0.98
    """Largest diffusion time once annealing is over, as a fraction of T."""
    timestep_anneal_steps: int = 0
    """Steps over which the largest diffusion time changes linearly; 0 keeps it."""
    view: ViewConfig = field(default_factory=ViewConfig)
    """View-dependent words."""
    background_words: bool = True
    """Say in the prompt what the background is, where its colour has a name ("white background")."""

    def stages(self) -> Stages:
        """Which objective acts when; UserError for an unknown one."""
        names = StageOptions.__dataclass_fields__
        return stages_for(self.objective, **{name: getattr(self, name) for name in names})

    def timesteps(self) -> TimestepRange:
        """Which diffusion times are drawn when; UserError for an impossible range."""
        return TimestepRange(
            self.timestep_minimum,
            self.timestep_maximum,
            self.timestep_final_maximum,
            self.timestep_anneal_steps,
        )


@dataclass(frozen=True)
class Wishes:
    """What may be changed while training goes on."""

    prompt: str
    target_descriptors: str
    source_descriptors: str
    guidance_scale: float
    stage: StageChoice = "auto"

    @classmethod
    def of(cls, prompt: str, config: GuidanceConfig) -> Wishes:
        """As configured."""
        return cls(
            prompt, config.target_descriptors, config.source_descriptors, config.guidance_scale, config.stage
        )


class Guidance:
    """Turns pictures into a distillation loss.

    Args:
        backgrounds: Every background name that training may report.

    Raises:
        UserError: The prior cannot read one of the prompts, or the configuration is impossible.
    """

    def __init__(
        self,
        prior: ImagePrior,
        config: GuidanceConfig,
        wishes: Wishes,
        seed: int,
        backgrounds: Iterable[str | None] = (None,),
    ) -> None:
        self.prior, self.config, self.seed = prior, config, seed
        self.backgrounds = tuple(backgrounds)
        self.timesteps = config.timesteps()
        self.apply(wishes)

    def apply(self, wishes: Wishes) -> None:
        """Take over new wishes, or change nothing and raise UserError."""
        stages = replace(self.config, guidance_scale=wishes.guidance_scale).stages()
        if wishes.stage != "auto" and int(wishes.stage) > len(stages.stages):
            raise UserError(f'the objective "{self.config.objective}" has no stage {wishes.stage}: choose auto')
        self.prior.check_prompts([wishes.prompt])
        described = (wishes.target_descriptors, wishes.source_descriptors)
        everything = [
            self._text(wishes.prompt, self.config.view.words(view), background, words)
            for view in VIEWS
            for background in self.backgrounds
            for words in described
        ]
        self.prior.check_prompts(everything)
        self.stages, self.wishes = stages, wishes

    def active(self, step: int) -> Active:
        """The objective that acts at this absolute step."""
        if self.wishes.stage == "auto":
            return self.stages.at(step)
        index = int(self.wishes.stage) - 1
        stage = self.stages.stages[index]
        return Active(stage.objective, stage.weight(max(step, stage.start)), index)

    def loss(
        self, pictures: Float[Tensor, "b 3 h w"], orbit: Orbit, background: str | None, step: int
    ) -> Distilled:
        """Mean over the b pictures of the distillation loss at this absolute step.

        t and noise are a pure function of (seed, step).

        Raises:
            UserError: The gradient is not finite.
        """
        prior, (objective, weight, _) = self.prior, self.active(step)
        size = (prior.image_size, prior.image_size)
        if pictures.shape[-2:] != size:
            pictures = F.interpolate(pictures, size, mode="bilinear", antialias=True)
        x = prior.encode(pictures.to(prior.device))
        draws = generator(self.seed, "t", step)
        t = self.timesteps.sample(step, len(x), prior.schedule.num_timesteps, draws).to(x.device)
        noise = torch.randn(x.shape, generator=generator(self.seed, "noise", step)).to(x)
        try:
            distilled = distillation_loss(objective, self._problem(orbit, background), x, t, noise, weight)
        except FloatingPointError as error:
            raise UserError(f"step {step}: {error}; go back to the last checkpoint with a lower learning rate") from error
        return distilled._replace(loss=distilled.loss / len(x))

    def _problem(self, orbit: Orbit, background: str | None) -> Problem:
        angles = zip(orbit.azimuth.tolist(), orbit.elevation.tolist(), strict=True)
        views = [self.config.view.words(self.config.view.view(*pair)) for pair in angles]
        wishes = self.wishes

        def told(descriptors: str) -> Condition:
            return self.prior.embed([self._text(wishes.prompt, view, background, descriptors) for view in views])

        conditions = {
            Slot.TARGET: told(wishes.target_descriptors),
            Slot.SOURCE: told(wishes.source_descriptors),
            Slot.NULL: self.prior.embed([""]),
        }
        return Problem(self.prior, conditions)

    def _text(self, prompt: str, view: str, background: str | None, descriptors: str) -> str:
        behind = f"{background} background" if background and self.config.background_words else ""
        return compose(prompt, view, behind, descriptors)


def written(wishes: Wishes, config: GuidanceConfig) -> None:
    """Write wishes into the configuration, so that what is saved and printed says what was done."""
    for name, value in asdict(wishes).items():
        if name != "prompt":
            setattr(config, name, value)
