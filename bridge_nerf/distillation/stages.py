"""Which objective acts at which absolute step, as a pure function: a resumed run cannot lose its stage."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from bridge_nerf.distillation import objectives
from bridge_nerf.distillation.epsilon import NEGATIVE, NULL, SOURCE, Epsilon, Slot
from bridge_nerf.distillation.objectives import Objective
from bridge_nerf.distillation.weighting import WEIGHTINGS
from bridge_nerf.errors import UserError
from bridge_nerf.schedules import Ramp


@dataclass(frozen=True)
class Stage:
    """An objective, the absolute step from which it acts, and what its gradient is multiplied with.

    The source may move: at each step `share` times `shift` is added to it.
    """

    objective: Objective
    start: int = 0
    weight: Ramp = field(default_factory=Ramp)
    shift: Epsilon = field(default_factory=Epsilon)
    share: Ramp = field(default_factory=Ramp)

    @property
    def slots(self) -> frozenset[Slot]:
        """Every slot that the stage may ask at any of its steps."""
        return self.objective.slots | self.shift.slots

    def at(self, step: int) -> Objective:
        """The objective, with the source of this step."""
        return replace(self.objective, source=self.objective.source + self.share(step) * self.shift)


class Active(NamedTuple):
    """What acts at a step."""

    objective: Objective
    weight: float
    index: int
    """Of the stage, from 0."""


@dataclass(frozen=True)
class Stages:
    """Stages in the order of their starts, the first at 0. Of two that start together the later acts."""

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        starts = [stage.start for stage in self.stages]
        if not starts or starts[0] != 0 or starts != sorted(starts):
            raise UserError(
                f"stages start at steps {starts}; the first must start at 0, none before its predecessor"
            )

    @property
    def slots(self) -> frozenset[Slot]:
        """Every slot that any stage asks, on whatever way."""
        return frozenset().union(*(stage.slots for stage in self.stages))

    @property
    def edits(self) -> bool:
        """Whether any stage needs a reference image."""
        return any(stage.objective.edits for stage in self.stages)

    def at(self, step: int) -> Active:
        """What acts at this absolute step."""
        index = sum(stage.start <= step for stage in self.stages) - 1
        return self.stage(index, step)

    def stage(self, index: int, step: int) -> Active:
        """The stage of that index at this absolute step; before it has begun, as it will begin."""
        stage = self.stages[index]
        step = max(step, stage.start)
        return Active(stage.at(step), stage.weight(step), index)


@dataclass
class StageOptions:
    """The numbers of all methods; each reads its own."""

    guidance_scale: float | None = None
    """Classifier-free guidance NULL + s (TARGET - NULL); 1 is none. None is the method's own: 40 for sds, csd
    and bridge, 100 for pds, 7.5 for the others."""
    weighting: str = "own"
    """w(t) of a method with one stage and of the first of two: sigma^2, sigma/alpha, sigma^3/alpha or uniform
    instead of its own."""
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

    def __post_init__(self) -> None:
        if self.ode_steps < 1:
            raise UserError(f"an ODE in {self.ode_steps} steps makes no sense; give 1 or more")

    def second(self, first: Objective, second: Objective) -> Stages:
        """Two stages, the second with its annealed weight."""
        weight = Ramp(
            1.0, self.stage_two_final_weight, self.stage_start, self.stage_start + self.stage_two_anneal_steps
        )
        return Stages((Stage(first), Stage(second, self.stage_start, weight)))


class Method(NamedTuple):
    """How stages are made of the options and a guidance scale, and the guidance of the method's authors."""

    stages: Callable[[StageOptions, float], Stages]
    guidance_scale: float = 7.5


def _single(objective: Objective) -> Stages:
    return Stages((Stage(objective),))


def _csd(options: StageOptions, s: float) -> Stages:
    share = Ramp(0.0, options.negative_share, end=options.negative_anneal_steps)
    shift = s * (NEGATIVE - NULL) if options.negative_share else Epsilon()
    return Stages((Stage(objectives.csd(s), shift=shift, share=share),))


def _bridge(options: StageOptions, s: float) -> Stages:
    second = objectives.bridge_second_stage(
        options.stage_two_scale, options.stage_two_anchor, options.stage_two_guidance
    )
    return options.second(objectives.sds(s), second)


METHODS: Mapping[str, Method] = {
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
    "bridge-ode": Method(lambda options, s: _single(objectives.full_bridge(SOURCE, options.ode_steps))),
    "bridge": Method(_bridge, 40.0),
}
"""Every method by name. Nothing else lists them: a new objective is an entry here."""


def stages_for(name: str, **options: Any) -> Stages:
    """The stages of the method `name`, with `options` the fields of `StageOptions`.

    Raises:
        UserError: No such method or weighting.
    """
    method, given = _method(name), StageOptions(**options)
    scale = method.guidance_scale if given.guidance_scale is None else given.guidance_scale
    return _weighted(method.stages(given, scale), given.weighting)


def guidance_of(name: str) -> float:
    """The guidance scale that the authors of the method `name` chose; UserError for an unknown name."""
    return _method(name).guidance_scale


def _method(name: str) -> Method:
    if name not in METHODS:
        raise UserError(f"unknown method {name!r}; choose one of {', '.join(sorted(METHODS))}")
    return METHODS[name]


def _weighted(stages: Stages, weighting: str) -> Stages:
    """With another weighting of the first stage."""
    if weighting == "own":
        return stages
    if weighting not in WEIGHTINGS:
        raise UserError(f"unknown weighting {weighting!r}; choose one of own, {', '.join(WEIGHTINGS)}")
    first, *others = stages.stages
    objective = replace(first.objective, weighting=WEIGHTINGS[weighting])
    return Stages((replace(first, objective=objective), *others))
