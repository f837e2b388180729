"""Which objective acts at which absolute step, as a pure function: a resumed run cannot lose its stage."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bridge_nerf.distillation.objectives import Objective, bridge_second_stage, sds
from bridge_nerf.errors import UserError
from bridge_nerf.schedules import Ramp


@dataclass(frozen=True)
class Stage:
    """An objective, the absolute step from which it acts, and what its gradient is multiplied with."""

    objective: Objective
    start: int = 0
    weight: Ramp = field(default_factory=Ramp)


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

    def at(self, step: int) -> Active:
        """What acts at this absolute step."""
        index = sum(stage.start <= step for stage in self.stages) - 1
        stage = self.stages[index]
        return Active(stage.objective, stage.weight(step), index)


@dataclass(frozen=True)
class StageOptions:
    """The numbers of all methods; each reads its own. The defaults are those of the paper's 2D code."""

    guidance_scale: float = 40.0
    """Classifier-free guidance NULL + s (TARGET - NULL) of SDS; 1 is none."""
    stage_start: int = 500
    """Absolute step at which the bridge's stage two takes over from SDS; 0 leaves SDS out."""
    stage_two_scale: float = 40.0
    """s in stage two's s (TARGET - SOURCE) + a (SOURCE - NOISE)."""
    stage_two_anchor: float = 0.0
    """a above: 0 is the paper's stage two, 1 is SDS with the source prompt as its negative prompt."""
    stage_two_guidance: float = 1.0
    """Guidance of TARGET in stage two; 1, the paper's choice, is none."""
    stage_two_final_weight: float = 1.0
    """Stage two's gradient is multiplied with 1 at its start and with this once annealing is over."""
    stage_two_anneal_steps: int = 0
    """Steps of stage two until its weight has reached the final one, linearly."""


def _sds(options: StageOptions) -> Stages:
    return Stages((Stage(sds(options.guidance_scale)),))


def _bridge(options: StageOptions) -> Stages:
    start, end = options.stage_start, options.stage_start + options.stage_two_anneal_steps
    weight = Ramp(1.0, options.stage_two_final_weight, start, end)
    objective = bridge_second_stage(
        options.stage_two_scale, options.stage_two_anchor, options.stage_two_guidance
    )
    return Stages((*_sds(options).stages, Stage(objective, start, weight)))


METHODS: Mapping[str, Callable[[StageOptions], Stages]] = {"sds": _sds, "bridge": _bridge}
"""Every method by name. Nothing else lists them: a new objective is an entry here."""


def stages_for(name: str, **options: Any) -> Stages:
    """The stages of the method `name`, with `options` the fields of `StageOptions`.

    Raises:
        UserError: No such method.
    """
    if name not in METHODS:
        raise UserError(f"unknown method {name!r}; choose one of {', '.join(sorted(METHODS))}")
    return METHODS[name](StageOptions(**options))
