"""A check that an objective depends on all that was requested: nothing is ignored without a word."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.distillation.registry import (
    OBJECTIVES,
    PRESETS,
    ObjectiveConfig,
    fixed,
    guidance_of,
    objectives_from_noise,
    stages_for,
)
from bridge_nerf.distillation.stages import Stage, Stages
from bridge_nerf.distillation.weighting import WEIGHTINGS
from bridge_nerf.errors import UserError

SLOTS: Mapping[str, frozenset[Slot]] = {
    "target_descriptors": frozenset({Slot.TARGET, Slot.ADAPTER}),
    "source_descriptors": frozenset({Slot.SOURCE}),
    "source_prompt": frozenset({Slot.SOURCE}),
    "negative_prompt": frozenset({Slot.NEGATIVE}),
    "adapter_rate": frozenset({Slot.ADAPTER}),
    "adapter_rank": frozenset({Slot.ADAPTER}),
}
"""Names of what can be requested -> the slots whose answers it changes."""
MEASURED = ("ode_steps", "target_descriptors", "source_descriptors", "source_prompt")
"""Names on which the measurement of the bridge's two errors depends, whatever the objective."""


@dataclass(frozen=True)
class ConfiguredObjective:
    """An objective as a command would run it.

    Args:
        objective: Its name, or that of a preset, which has no options.
        config: Its numbers.
        negative_prompt: The text of NEGATIVE; the source descriptors stand in for an empty one.
        measures: True where the bridge's two errors are measured.
        avoids: True where TARGET avoids NEGATIVE (Perp-Neg).
        stage: Index of the stage that acts alone, from 0; None where each has its time.
    """

    objective: str
    config: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    negative_prompt: str = ""
    measures: bool = False
    avoids: bool = False
    stage: int | None = None

    def depends_on(self, name: str) -> bool:
        """True where another value of `name` would make another run."""
        if self.measures and name in MEASURED:
            return True
        if name in SLOTS:
            stands_in = name == "source_descriptors" and not self.negative_prompt
            slots = SLOTS[name] | ({Slot.NEGATIVE} if stands_in else frozenset())
            return any(self._slots(stage) & slots for stage in self._acting(self.config) or ())
        if not hasattr(self.config, name):
            return True
        others = [replace(self.config, **{name: other}) for other in _others(getattr(self.config, name))]
        acting = self._acting(self.config)
        return any(self._acting(other) not in (None, acting) for other in others)

    def _slots(self, stage: Stage) -> frozenset[Slot]:
        avoided = {Slot.NEGATIVE} if self.avoids and Slot.TARGET in stage.slots else set()
        return stage.slots | avoided

    def _acting(self, config: ObjectiveConfig) -> Sequence[Stage] | None:
        """The stages that act at any step; None where the objective cannot have these numbers."""
        if self.objective in PRESETS:
            return self._chosen(PRESETS[self.objective])
        try:
            return self._chosen(stages_for(self.objective, config))
        except UserError:
            if self.objective not in OBJECTIVES:
                raise
            return None

    def _chosen(self, stages: Stages) -> Sequence[Stage]:
        return stages.acting if self.stage is None else stages.stages[self.stage : self.stage + 1]


def check_requested(configured: Sequence[ConfiguredObjective], flags: Mapping[str, str]) -> None:
    """Refuse what was requested and would change nothing.

    Args:
        configured: The objectives of one command, of which one that depends on a flag is enough.
        flags: Name -> how the user spells it: fields of `ObjectiveConfig`, keys of `SLOTS`, and what else
            presets fix.

    Raises:
        UserError: An unknown objective; an impossible number, or one that a preset fixes; or no objective
            depends on it.
    """
    for each in configured:
        each.config.check()
    for name, flag in flags.items():
        for each in configured:
            own = name == "guidance_scale" and each.config.guidance_scale == guidance_of(each.objective)
            if each.objective in PRESETS and name not in SLOTS and not own:
                raise UserError(fixed(each.objective, flag))
        if any(e.depends_on(name) or (e.objective in PRESETS and name not in SLOTS) for e in configured):
            continue
        others = ", ".join(
            m
            for m in objectives_from_noise()
            if any(replace(e, objective=m).depends_on(name) for e in configured)
        )
        requested = ", ".join(dict.fromkeys(each.objective for each in configured))
        raise UserError(
            f"{flag} changes nothing in {requested}{'' if others else ' as it is configured'}: "
            f"leave it out{others and f', or choose {others}'}"
        )


def _others(value: Any) -> Sequence[Any]:
    """Other values of an option, enough to see whether it matters."""
    if isinstance(value, str):
        return tuple(WEIGHTINGS)
    if isinstance(value, bool):
        return (not value,)
    return (value + 1,) if isinstance(value, int) else (value / 2 if value else 1.0,)
