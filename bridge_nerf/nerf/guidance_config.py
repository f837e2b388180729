"""How images are judged: what is configured, and what the viewer may change while training."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Literal

from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.distillation.registry import (
    IMAGE_PRESETS,
    SCENE_PRESETS,
    StageOptions,
    Stages,
    guidance_of,
    stages_for,
)
from bridge_nerf.distillation.requested import Listener
from bridge_nerf.errors import UserError
from bridge_nerf.nerf.prompts import ViewConfig
from bridge_nerf.schedules import TimestepRange
from bridge_nerf.wording import join_prompt

StageChoice = Literal["auto", "1", "2"]


@dataclass
class GuidanceConfig(StageOptions):
    """How images are judged."""

    prior: str = "auto"
    """One of "auto" (Stable Diffusion on a GPU, else the toybox), "toybox", the folder of a Stable
    Diffusion pipeline, or a hub id."""
    objective: str = "bridge"
    """Method, as in bridge (the paper's two stages), sds or vsd, or the authors' preset for objects,
    bridge:release-3d, which brings its steps, times and words along; an unknown name is answered with all."""
    target_descriptors: str = "detailed high resolution, high quality, sharp"
    """Added to the prompt to say what the image should be."""
    source_descriptors: str = (
        "oversaturated, smooth, pixelated, cartoon, foggy, hazy, blurry, bad structure, noisy, malformed"
    )
    """Added to the prompt to say what the image is and should not be ("bridge", stage two)."""
    source_prompt: str = ""
    """What the object is now, if not the prompt: for a run that goes on from one of another prompt."""
    negative_prompt: str = ""
    """The whole text of the slot NEGATIVE, for objectives that have one; empty, the source descriptors."""
    perp_neg: float = 0.0
    """How strongly each view's prompt avoids the opposite view's (Perp-Neg); 0 is not at all."""
    adapter_rank: int = 4
    """Rank of the low-rank corrections that learn the current images (vsd, vsd-bridge)."""
    errors_every: int = 0
    """Measure the bridge's two errors every so many steps, for every source there is; 0 is never. Each time
    costs 2 `ode_steps` + 1 network calls a source, and one more."""
    stage: StageChoice = "auto"
    """Changes from one to two at `stage_start` ("auto"), or stays at "1" or "2"."""
    stage_start: int = 700
    """Absolute step at which stage two begins."""
    timestep_minimum: float = 0.02
    """Smallest diffusion time drawn, as a fraction of T."""
    timestep_maximum: float = 0.98
    """Largest diffusion time drawn at step 0, as a fraction of T."""
    timestep_final_maximum: float = 0.98
    """Largest diffusion time once annealing is over, as a fraction of T."""
    timestep_anneal_steps: int = 0
    """Steps over which the largest diffusion time changes linearly; 0 keeps it."""
    timestep_anneal_begin: int = 0
    """Absolute step at which it begins to change."""
    view: ViewConfig = field(default_factory=ViewConfig)
    """View-dependent words."""
    background_words: bool = True
    """Say in the prompt what the background is, where its colour has a name ("white background")."""

    def stages(self) -> Stages:
        """Which objective acts when; UserError for an unknown one, or one that cannot make an object."""
        if self.errors_every < 0:
            raise UserError(f"errors_every {self.errors_every} makes no sense; give 0 for never, or more")
        if self.objective in IMAGE_PRESETS:
            raise UserError(
                f"{self.objective} is a preset for images; choose {', '.join(SCENE_PRESETS)}, or "
                f'"{self.objective.partition(":")[0]}" with numbers of your own'
            )
        if self.objective in SCENE_PRESETS:
            stages = stages_for(self.objective, guidance_scale=self.guidance_scale)
        else:
            stages = stages_for(self.objective, **vars(self.listener().options))
        if stages.edits:
            raise UserError(f"{self.objective} edits one image, which an object is not; choose bridge or sds")
        if self.perp_neg and Slot.NEGATIVE in stages.slots:
            raise UserError(
                f"{self.objective} has a negative prompt of its own; set --pipeline.perp-neg to 0"
            )
        self.check_stage(self.stage, stages)
        return stages

    def check_stage(self, stage: StageChoice, stages: Stages) -> None:
        """Raises UserError for a stage that the objective does not have."""
        if stage != "auto" and int(stage) > len(stages.stages):
            raise UserError(f'the objective "{self.objective}" has no stage {stage}: choose auto')

    def listener(self) -> Listener:
        """What the objective listens to, as it is configured."""
        options = {name: getattr(self, name) for name in StageOptions.__dataclass_fields__}
        negative = join_prompt(self.negative_prompt)
        return Listener(self.objective, StageOptions(**options), negative, self.errors_every > 0)

    def guidance(self) -> float:
        """The guidance scale, or the objective's own where none is configured."""
        return guidance_of(self.objective) if self.guidance_scale is None else self.guidance_scale

    def timesteps(self) -> TimestepRange:
        """Which diffusion times are drawn when; UserError for an impossible range."""
        return TimestepRange(
            self.timestep_minimum,
            self.timestep_maximum,
            self.timestep_final_maximum,
            self.timestep_anneal_steps,
            self.timestep_anneal_begin,
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
            prompt, config.target_descriptors, config.source_descriptors, config.guidance(), config.stage
        )

    def write(self, config: GuidanceConfig) -> None:
        """Write all but the prompt into the configuration, so that what is saved and printed says what was
        done."""
        for name, value in asdict(self).items():
            if name != "prompt":
                setattr(config, name, value)
