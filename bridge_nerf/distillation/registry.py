"""Methods by name: from a name and numbers to stages."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from bridge_nerf.distillation import objectives
from bridge_nerf.distillation.epsilon import NEGATIVE, NULL, SOURCE, Slot
from bridge_nerf.distillation.objectives import Objective
from bridge_nerf.distillation.presets import IMAGE_PRESETS, PRESETS, SCENE_PRESETS
from bridge_nerf.distillation.stages import Active, Stage, Stages
from bridge_nerf.distillation.weighting import WEIGHTINGS
from bridge_nerf.distillation.wrappers import Clip, Shape, rescaled, shaped, unit_norm
from bridge_nerf.errors import UserError
from bridge_nerf.schedules import Ramp

__all__ = [
    "IMAGE_PRESETS",
    "OBJECTIVES",
    "PRESETS",
    "SCENE_PRESETS",
    "Active",
    "Method",
    "Stage",
    "StageOptions",
    "Stages",
    "guidance_of",
    "stages_for",
]


LARGEST = 1e6
"""Of a guidance or scale: single precision ends soon after."""


@dataclass
class StageOptions:
    """The numbers of all methods; each reads its own."""

    guidance_scale: float | None = None
    """Classifier-free guidance NULL + s (TARGET - NULL); 1 is none. None is the method's own: 40 for sds, csd
    and bridge, 100 for pds, 7.5 for the others."""
    weighting: str = "own"
    """w(t) of a method with one stage and of the first of two: sigma^2, sigma/alpha, sigma^3/alpha or uniform
    instead of its own."""
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
        for name, value in vars(self).items():
            if isinstance(value, float) and not abs(value) <= LARGEST:
                raise UserError(f"{name} = {value} is impossible; give a number of at most {LARGEST:g}")
        if self.stage_start < 0:
            raise UserError(f"stage_start {self.stage_start} lies before the first step; give 0 or more")
        for name in ("guidance_rescale", "negative_share"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise UserError(f"{name} {share:g} is no share; give a number from 0 to 1")
        for name in ("negative_anneal_steps", "stage_two_anneal_steps"):
            if (steps := getattr(self, name)) < 0:
                raise UserError(f"{name} {steps} makes no sense; give 0 or more")
        if not 1 <= self.ode_steps <= 1000:
            raise UserError(f"ode_steps {self.ode_steps} makes no sense; give a number from 1 to 1000")
        if self.weighting not in ("own", *WEIGHTINGS):
            raise UserError(f"unknown weighting {self.weighting!r}; choose own, {', '.join(WEIGHTINGS)}")
        if self.gradient_clip < 0:
            raise UserError(f"gradient_clip {self.gradient_clip:g} is negative; give 0 for no limit, or more")

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """What every gradient goes through."""
        clip = (Clip(self.gradient_clip),) if self.gradient_clip else ()
        return ((unit_norm,) if self.unit_norm else ()) + clip

    def second(self, first: Objective, second: Objective) -> Stages:
        """Two stages, the second with its annealed weight."""
        final, begin = self.stage_two_final_weight, self.stage_start
        weight = Ramp() if final == 1 else Ramp(1.0, final, begin, begin + self.stage_two_anneal_steps)
        return Stages((Stage(first), Stage(second, self.stage_start, weight)))


class Method(NamedTuple):
    """How stages are made of the options and a guidance scale, and the guidance of the method's authors."""

    stages: Callable[[StageOptions, float], Stages]
    guidance_scale: float = 7.5


def _single(objective: Objective) -> Stages:
    return Stages((Stage(objective),))


def _csd(options: StageOptions, s: float) -> Stages:
    if not options.negative_share:
        return _single(objectives.csd(s))
    share = Ramp(0.0, options.negative_share, end=options.negative_anneal_steps)
    return Stages((Stage(objectives.csd(s), shift=s * (NEGATIVE - NULL), share=share),))


def _bridge(options: StageOptions, s: float) -> Stages:
    second = objectives.bridge_second_stage(
        options.stage_two_scale, options.stage_two_anchor, options.stage_two_guidance
    )
    return options.second(objectives.sds(s), second)


OBJECTIVES: Mapping[str, Method] = {
    "sds": Method(lambda options, s: _single(objectives.sds(s)), 40.0),
    "nfsd": Method(lambda options, s: _single(objectives.nfsd(s))),
    "csd": Method(_csd, 40.0),
    "vsd": Method(lambda options, s: _single(objectives.vsd(s))),
    "vsd-bridge": Method(
        lambda options, s: options.second(objectives.vsd(s), objectives.vsd_bridge(options.ode_steps))
    ),
    "asd": Method(lambda options, s: _single(objectives.asd(s))),
    "dds": Method(lambda options, s: _single(objectives.dds(s))),
    "pds": Method(lambda options, s: _single(objectives.pds(s)), 100.0),
    "ism": Method(lambda options, s: _single(objectives.ism(s, options.ode_steps))),
    "sdi": Method(lambda options, s: _single(objectives.sdi(s, options.ode_steps))),
    "bridge-ode": Method(
        lambda options, s: _single(objectives.full_bridge(SOURCE, options.ode_steps)), guidance_scale=1.0
    ),
    "bridge": Method(_bridge, 40.0),
}
"""Every method by name. Nothing else lists them: a new objective is an entry here."""


def stages_for(name: str, **options: Any) -> Stages:
    """The stages of the method or preset `name`, with `options` the fields of `StageOptions`.

    Raises:
        UserError: No such method, or an option that makes no sense with it: a preset's numbers are fixed.
    """
    given = StageOptions(**options)
    given.check()
    own = guidance_of(name)
    if name in PRESETS:
        if given.guidance_scale == own:  # as the viewer's panel has it
            given.guidance_scale = None
        if changed := [key for key, value in vars(given).items() if value != getattr(StageOptions, key)]:
            raise UserError(fixed(name, ", ".join(changed)))
        return PRESETS[name]
    scale = own if given.guidance_scale is None else given.guidance_scale
    return _wrapped(OBJECTIVES[name].stages(given, scale), given)


def fixed(preset: str, what: str) -> str:
    """The message for a number that a preset does not leave open."""
    return (
        f"{preset} is a preset, whose numbers are those of its authors: leave {what} out, "
        f'or choose "{preset.partition(":")[0]}"'
    )


def guidance_of(name: str) -> float:
    """The guidance scale of a method's authors, or of a preset; UserError for an unknown name."""
    if name in PRESETS:
        terms = PRESETS[name].stages[0].objective.target.terms
        return sum(term.weight for term in terms if term.slot in (Slot.TARGET, Slot.PROMPT))
    if name not in OBJECTIVES:
        known = ", ".join(sorted(OBJECTIVES)), ", ".join(sorted(PRESETS))
        raise UserError(f"unknown method {name!r}; choose one of {known[0]}, or a preset: {known[1]}")
    return OBJECTIVES[name].guidance_scale


def _wrapped(stages: Stages, options: StageOptions) -> Stages:
    """Another weighting and rescaled guidance for the first stage, reshaped gradients for all."""
    first, *others = stages.stages
    objective = first.objective
    if options.weighting != "own":
        objective = replace(objective, weighting=WEIGHTINGS[options.weighting])
    if options.guidance_rescale:
        objective = rescaled(objective, options.guidance_rescale)
    all_ = (replace(first, objective=objective), *others)
    return Stages(tuple(replace(s, objective=shaped(s.objective, *options.shapes)) for s in all_))
