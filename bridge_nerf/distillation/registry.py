"""Objectives by name: from a name and numbers to stages."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from bridge_nerf.annealing import Ramp
from bridge_nerf.distillation import objectives
from bridge_nerf.distillation.config import ObjectiveConfig
from bridge_nerf.distillation.epsilon import NEGATIVE, NULL, SOURCE, Slot
from bridge_nerf.distillation.objectives import Objective, rescaled
from bridge_nerf.distillation.presets import IMAGE_PRESETS, PRESETS, SCENE_PRESETS
from bridge_nerf.distillation.stages import Active, Stage, Stages
from bridge_nerf.distillation.transforms import Clip, GradientTransform, unit_norm
from bridge_nerf.distillation.weighting import WEIGHTINGS
from bridge_nerf.errors import UserError
from bridge_nerf.registries import Registry

__all__ = [
    "IMAGE_PRESETS",
    "OBJECTIVES",
    "PRESETS",
    "SCENE_PRESETS",
    "Active",
    "ObjectiveConfig",
    "ObjectiveEntry",
    "Stage",
    "Stages",
    "guidance_of",
    "stages_for",
]


class ObjectiveEntry(NamedTuple):
    """An objective that has a name."""

    make: Callable[[ObjectiveConfig, float], Objective | Stages]
    """(configuration, guidance scale) -> the objective, or the stages of one that has several."""
    guidance_scale: float = 7.5
    """The guidance scale of its authors."""


def _csd(config: ObjectiveConfig, s: float) -> Stages:
    if not config.negative_share:
        return Stages((Stage(objectives.csd(s)),))
    share = Ramp(0.0, config.negative_share, end=config.negative_anneal_steps)
    return Stages((Stage(objectives.csd(s), shift=s * (NEGATIVE - NULL), share=share),))


def _bridge(config: ObjectiveConfig, s: float) -> Stages:
    second = objectives.bridge_second_stage(
        config.stage_two_scale, config.stage_two_anchor, config.stage_two_guidance
    )
    return _two_stages(config, objectives.sds(s), second)


def _vsd_bridge(config: ObjectiveConfig, s: float) -> Stages:
    return _two_stages(config, objectives.vsd(s), objectives.vsd_bridge(config.ode_steps))


def _two_stages(config: ObjectiveConfig, first: Objective, second: Objective) -> Stages:
    """Two stages, the second with its annealed weight."""
    final, begin = config.stage_two_final_weight, config.stage_start
    weight = Ramp() if final == 1 else Ramp(1.0, final, begin, begin + config.stage_two_anneal_steps)
    return Stages((Stage(first), Stage(second, config.stage_start, weight)))


OBJECTIVES = Registry(
    "objective",
    "bridge_nerf.objectives",
    ObjectiveEntry,
    {
        "sds": ObjectiveEntry(lambda config, s: objectives.sds(s), 40.0),
        "nfsd": ObjectiveEntry(lambda config, s: objectives.nfsd(s)),
        "csd": ObjectiveEntry(_csd, 40.0),
        "vsd": ObjectiveEntry(lambda config, s: objectives.vsd(s)),
        "vsd-bridge": ObjectiveEntry(_vsd_bridge),
        "asd": ObjectiveEntry(lambda config, s: objectives.asd(s)),
        "dds": ObjectiveEntry(lambda config, s: objectives.dds(s)),
        "pds": ObjectiveEntry(lambda config, s: objectives.pds(s), 100.0),
        "ism": ObjectiveEntry(lambda config, s: objectives.ism(s, config.ode_steps)),
        "sdi": ObjectiveEntry(lambda config, s: objectives.sdi(s, config.ode_steps)),
        "bridge-ode": ObjectiveEntry(lambda config, s: objectives.full_bridge(SOURCE, config.ode_steps), 1.0),
        "bridge": ObjectiveEntry(_bridge, 40.0),
    },
)
"""Every objective by name. Nothing else lists them: a new objective is an entry here, or is registered."""


def stages_for(name: str, config: ObjectiveConfig | None = None) -> Stages:
    """The stages of the objective or preset `name` with these numbers.

    Raises:
        UserError: No such objective, or a number that makes no sense with it: a preset's numbers are fixed.
    """
    config, own = config or ObjectiveConfig(), guidance_of(name)
    config.check()
    if name in PRESETS:
        usual = vars(ObjectiveConfig(guidance_scale=config.guidance_scale))
        changed = [key for key, value in vars(config).items() if value != usual[key]]
        if config.guidance_scale not in (None, own):  # its own as the viewer's panel has it
            changed.append("guidance_scale")
        if changed:
            raise UserError(fixed(name, ", ".join(changed)))
        return PRESETS[name]
    made = OBJECTIVES[name].make(config, own if config.guidance_scale is None else config.guidance_scale)
    return _changed(made if isinstance(made, Stages) else Stages((Stage(made),)), config)


def objectives_from_noise() -> list[str]:
    """The objectives that need no image to start from, without those of other packages that are broken."""
    return [name for name in OBJECTIVES.loadable() if not stages_for(name).edits]


def fixed(preset: str, what: str) -> str:
    """The message for a number that a preset does not leave open."""
    return (
        f"{preset} is a preset, whose numbers are those of its authors: leave {what} out, "
        f'or choose "{preset.partition(":")[0]}"'
    )


def guidance_of(name: str) -> float:
    """The guidance scale of an objective's authors, or of a preset; UserError for an unknown name."""
    if name in PRESETS:
        terms = PRESETS[name].stages[0].objective.target.terms
        return sum(term.weight for term in terms if term.slot in (Slot.TARGET, Slot.PROMPT))
    if name not in OBJECTIVES:
        known = ", ".join(sorted(OBJECTIVES)), ", ".join(sorted(PRESETS))
        raise UserError(f"unknown objective {name!r}; choose one of {known[0]}, or a preset: {known[1]}")
    return OBJECTIVES[name].guidance_scale


def _changed(stages: Stages, config: ObjectiveConfig) -> Stages:
    """Another weighting and rescaled guidance for the first stage, transformed gradients for all."""
    first, *others = stages.stages
    objective = first.objective
    if config.weighting != "own":
        objective = replace(objective, weighting=WEIGHTINGS[config.weighting])
    if config.guidance_rescale:
        objective = rescaled(objective, config.guidance_rescale)

    clip = (Clip(config.gradient_clip),) if config.gradient_clip else ()
    further: tuple[GradientTransform, ...] = (*((unit_norm,) if config.unit_norm else ()), *clip)

    def transformed(stage: Stage) -> Stage:
        transforms = stage.objective.transforms + further
        return replace(stage, objective=replace(stage.objective, transforms=transforms))

    return Stages(tuple(map(transformed, (replace(first, objective=objective), *others))))
