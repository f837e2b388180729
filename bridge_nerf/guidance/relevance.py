"""Refusal of numbers and words that would change nothing: no request is ignored without a word."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields

from bridge_nerf.annealing import TimestepRange
from bridge_nerf.distillation.config import ObjectiveConfig
from bridge_nerf.distillation.registry import fixed, guidance_of
from bridge_nerf.distillation.requested import SLOTS, ConfiguredObjective, check_requested
from bridge_nerf.errors import UserError
from bridge_nerf.guidance.config import GuidanceConfig

ANNEALED = ("final_maximum", "final_minimum", "anneal_begin")
"""The numbers of `TimestepRange` that say how its ends move."""


def check_relevant(
    configs: Sequence[tuple[str, GuidanceConfig]],
    flags: Collection[str],
    prefix: str = "",
    others: Mapping[str, str] | None = None,
) -> None:
    """Refuse what was requested and would change nothing in any of some objectives.

    Args:
        configs: (objective, its configuration).
        flags: Those that were given.
        prefix: That of the flags of a `GuidanceConfig`, as in "pipeline.".
        others: Further names of `SLOTS` and how their flags are spelled.

    Raises:
        UserError: The first such flag.
    """
    for field in ANNEALED:
        flag = f"{prefix}times.{field.replace('_', '-')}"
        if flag in flags and not any(config.times.anneal_steps for _, config in configs):
            raise UserError(
                f"--{flag} changes nothing while --{prefix}times.anneal-steps is 0: give that too"
            )
    names = (*(field.name for field in fields(ObjectiveConfig)), *SLOTS)
    spelled = {name: f"{prefix}{name.replace('_', '-')}" for name in names} | dict(others or {})
    requested = {name: f"--{flag}" for name, flag in spelled.items() if flag in flags}
    objectives = [
        ConfiguredObjective(
            name,
            config.objective,
            config.prompts.negative_prompt,
            config.errors_every > 0,
            avoids=config.perp_neg > 0 and not prefix,  # a scene avoids the opposite view's prompt
            stage=None if config.stage == "auto" else int(config.stage) - 1,
        )
        for name, config in configs
    ]
    check_requested(objectives, requested)


def check_fixed(preset: str, flags: Mapping[str, object]) -> None:
    """Raises UserError for a number that a preset of images does not leave open, by its flag and value."""
    numbers = {field.name.replace("_", "-") for field in fields(ObjectiveConfig)}
    numbers |= {f"times.{field.name.replace('_', '-')}" for field in fields(TimestepRange)}
    own = {("guidance-scale", guidance_of(preset))}
    for flag, value in flags.items():
        if flag in numbers and (flag, value) not in own:
            raise UserError(fixed(preset, f"--{flag}"))
