"""Whether an objective listens to what was requested beside it: nothing is ignored without a word."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.distillation.registry import (
    OBJECTIVES,
    PRESETS,
    StageOptions,
    fixed,
    guidance_of,
    stages_for,
)
from bridge_nerf.distillation.stages import Stage
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
"""What can be requested -> the slots that it says something about."""
MEASURED = ("ode_steps", "target_descriptors", "source_descriptors", "source_prompt")
"""What the measurement of the bridge's two errors listens to, whatever the objective."""


@dataclass(frozen=True)
class Listener:
    """An objective as a command would run it.

    Args:
        method: Its name, or that of a preset, which has no options.
        negative_prompt: The text of NEGATIVE; the source descriptors stand in for an empty one.
        measures: Whether the bridge's two errors are measured.
    """

    method: str
    options: StageOptions = field(default_factory=StageOptions)
    negative_prompt: str = ""
    measures: bool = False

    def hears(self, name: str) -> bool:
        """Whether it would be another run with another value of `name`."""
        if self.measures and name in MEASURED:
            return True
        if name in SLOTS:
            stands_in = name == "source_descriptors" and not self.negative_prompt
            slots = SLOTS[name] | ({Slot.NEGATIVE} if stands_in else frozenset())
            return any(stage.slots & slots for stage in self._acting(self.options) or ())
        if not hasattr(self.options, name):
            return True
        others = [replace(self.options, **{name: other}) for other in _others(getattr(self.options, name))]
        acting = self._acting(self.options)
        return any(self._acting(other) not in (None, acting) for other in others)

    def _acting(self, options: StageOptions) -> Sequence[Stage] | None:
        """The stages that act at any step; None where the method cannot have these options."""
        if self.method in PRESETS:
            return PRESETS[self.method].acting
        try:
            return stages_for(self.method, **vars(options)).acting
        except UserError:
            if self.method not in OBJECTIVES:
                raise
            return None


def check_requested(listeners: Sequence[Listener], flags: Mapping[str, str]) -> None:
    """Refuse what was requested and would change nothing.

    Args:
        listeners: The objectives of one command, of which one that listens is enough.
        flags: Name -> how the user spells it: fields of `StageOptions`, keys of `SLOTS`, and what else
            presets fix.

    Raises:
        UserError: No method of that name; an impossible number, or one that a preset fixes; or none listens.
    """
    for each in listeners:
        each.options.check()
    for name, flag in flags.items():
        for each in listeners:
            own = name == "guidance_scale" and each.options.guidance_scale == guidance_of(each.method)
            if each.method in PRESETS and name not in SLOTS and not own:
                raise UserError(fixed(each.method, flag))
        if not any(each.hears(name) or (each.method in PRESETS and name not in SLOTS) for each in listeners):
            makers = [method for method in OBJECTIVES if not stages_for(method).edits]
            others = ", ".join(m for m in makers if any(replace(e, method=m).hears(name) for e in listeners))
            methods = ", ".join(dict.fromkeys(each.method for each in listeners))
            raise UserError(
                f"{flag} changes nothing in {methods}{'' if others else ' as it is configured'}: "
                f"leave it out{others and f', or choose {others}'}"
            )


def _others(value: Any) -> Sequence[Any]:
    """Other values of an option, enough to see whether it matters."""
    if isinstance(value, str):
        return tuple(WEIGHTINGS)
    if isinstance(value, bool):
        return (not value,)
    return (value + 1,) if isinstance(value, int) else (value / 2 if value else 1.0,)
