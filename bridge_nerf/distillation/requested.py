"""Whether an objective listens to what was requested beside it: nothing is ignored without a word."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.distillation.stages import METHODS, PRESETS, StageOptions, Stages, fixed, stages_for
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


def check_requested(methods: Sequence[str], requested: Mapping[str, Any], flags: Mapping[str, str]) -> None:
    """Refuse what was requested and would change nothing.

    Args:
        methods: The objectives of one command, of which one that listens is enough.
        requested: Name -> value: fields of `StageOptions`, keys of `SLOTS`, and what else presets fix.
        flags: Name -> how the user spells it.

    Raises:
        UserError: No method of that name, an impossible number, one that a preset fixes, or none of the
            methods listens.
    """
    _options(requested).check()
    for name in requested:
        for method in methods:
            if method in PRESETS and name not in SLOTS:
                raise UserError(fixed(method, flags[name]))
        if not any(has_effect(method, name, requested) for method in methods):
            others = ", ".join(
                m for m in METHODS if not stages_for(m).edits and has_effect(m, name, requested)
            )
            raise UserError(
                f"{flags[name]} changes nothing in {', '.join(methods)}"
                f"{'' if others else ' by itself'}: leave it out{others and f', or choose {others}'}"
            )


def has_effect(method: str, name: str, requested: Mapping[str, Any]) -> bool:
    """Whether another value of `name` would make another method, beside what else was requested."""
    options = _options(requested)
    if name in SLOTS:
        stages = _stages(method, options)
        slots = SLOTS[name]
        if name == "source_descriptors" and not requested.get("negative_prompt"):
            slots |= {Slot.NEGATIVE}  # which they stand in for
        return stages is not None and bool(stages.slots & slots)
    if hasattr(options, name):
        others = [replace(options, **{name: other}) for other in _others(getattr(options, name))]
        return any(_stages(method, options) != _stages(method, other) for other in others)
    return True


def _options(requested: Mapping[str, Any]) -> StageOptions:
    names = requested.keys() & StageOptions.__dataclass_fields__.keys()
    return StageOptions(**{name: requested[name] for name in names})


def _stages(method: str, options: StageOptions) -> Stages | None:
    """None where the method cannot have these options."""
    if method in PRESETS:
        return PRESETS[method]
    try:
        return stages_for(method, **vars(options))
    except UserError:
        if method not in METHODS:
            raise
        return None


def _others(value: Any) -> Sequence[Any]:
    """Other values of an option, enough to see whether it matters."""
    if isinstance(value, str):
        return tuple(WEIGHTINGS)
    return (not value,) if isinstance(value, bool) else ((value or 0) + 1,)
