"""Numbers of image optimisations by kind of prior and task: the paper's, and those found on the toybox."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

from bridge_nerf.annealing import TimestepRange
from bridge_nerf.distillation.config import ObjectiveConfig
from bridge_nerf.errors import UserError
from bridge_nerf.flags import check_flags, leaves
from bridge_nerf.guidance.config import GuidanceConfig, PromptConfig
from bridge_nerf.guidance.defaults import NFSD_NEGATIVE, TOYBOX_OBJECTIVE
from bridge_nerf.images.config import ImageConfig, Task
from bridge_nerf.wording import join_prompt

PAPER: dict[Task, ImageConfig] = {
    "image": ImageConfig(),
    # In stage two from the start.
    "paint": ImageConfig(
        GuidanceConfig(PromptConfig(source_descriptors="painting"), ObjectiveConfig(stage_start=0))
    ),
    "illusion": ImageConfig(),
}
"""Numbers of the authors' release for Stable Diffusion."""

_TOYBOX = ImageConfig(
    GuidanceConfig(
        PromptConfig("detailed, high resolution, high quality, sharp"),
        replace(TOYBOX_OBJECTIVE, stage_start=200),
        TimestepRange(0.02, 0.98, 0.5, 200),
    ),
    steps=300,
    learning_rate=0.03,
    decay_start=0.5,
    # At the paper's 1e-4 it has learned next to nothing in so few steps, and vsd ends in ripples as csd does.
    adapter_rate=3e-3,
)
TOYBOX: dict[Task, ImageConfig] = {
    "image": _TOYBOX,
    # In stage two from the start; the largest t falls early, so that what the painting shows is not lost.
    "paint": replace(
        _TOYBOX,
        guidance=GuidanceConfig(
            replace(_TOYBOX.guidance.prompts, source_descriptors="painting"),
            replace(TOYBOX_OBJECTIVE, stage_start=0, stage_two_scale=4.0, stage_two_guidance=3.0),
            TimestepRange(0.02, 0.7, 0.1, 80),
        ),
        steps=100,
    ),
    "illusion": _TOYBOX,
}
"""Found by trying on the toybox; those for images on an earlier, weaker prior, but for the adapter's."""

# Only the second stage of "bridge" has the descriptors there; other objectives have the prompt alone.
_BARE = PromptConfig("", "")


def _release(prompts: PromptConfig, stride: int = 2) -> ImageConfig:
    guidance = GuidanceConfig(prompts, times=TimestepRange(stride=stride))
    return ImageConfig(guidance, weight_decay=0.01, adapter_rate=3e-4)


def _evaluation(prompts: PromptConfig, stride: int = 1, **numbers: float) -> ImageConfig:
    guidance = GuidanceConfig(prompts, times=TimestepRange(stride=stride))
    return replace(ImageConfig(guidance, steps=2500, weight_decay=0.01), **numbers)


PRESETS: dict[str, ImageConfig] = {
    "bridge:release": _release(PromptConfig()),
    "sds:release": _release(_BARE),
    "nfsd:release": _release(replace(_BARE, negative_prompt=NFSD_NEGATIVE)),
    "vsd:release": _release(_BARE, stride=1),
    "bridge:paper-eval": _evaluation(PromptConfig(""), stride=20, steps=2800),
    "sds:paper-eval": _evaluation(_BARE, initial_scale=0.0),
    "nfsd:paper-eval": _evaluation(_BARE),
    "vsd:paper-eval": _evaluation(_BARE),
    "vsd-bridge:paper-eval": _evaluation(_BARE, steps=801, initial_scale=0.0, adapter_rate=1e-5),
}
"""The part of the presets that `distillation.presets` leaves open: steps, optimiser, words and times as the
authors ran them. docs/objectives.md says how much of each is reproduced."""


def default_config(kind: str, task: Task, objective: str = "bridge") -> ImageConfig:
    """The numbers of a preset; else those that suit a task and a kind of prior (`registry.kind_of`)."""
    config = PRESETS.get(objective) or (TOYBOX if kind == "toybox" else PAPER)[task]
    return deepcopy(config)


def configured(
    kind: str, task: Task, objective: str = "bridge", overrides: Mapping[str, Any] | None = None
) -> ImageConfig:
    """The default numbers with some replaced.

    Args:
        kind: Kind of the prior.
        overrides: By flag, as in {"steps": 100, "times.maximum": 0.8}. Fewer or more steps move what happens
            at a step along, but not in a preset, whose stages stay where its authors had them.

    Raises:
        UserError: A flag or its value is impossible, or the steps end before the last stage has begun.
    """
    config, given = default_config(kind, task, objective), dict(overrides or {})
    if "steps" in given and objective not in PRESETS:
        check_flags(replace(config, steps=given["steps"]))
        config = config.stretched(given["steps"])
    known = {leaf.flag: leaf for leaf in leaves(config)}
    for flag, value in given.items():
        if flag not in known:
            raise UserError(f"unknown number --{flag}; choose among {', '.join(known)}")
        known[flag].put(value)
    check_flags(config)
    stages, words = config.guidance.stages(objective), config.guidance.prompts
    if config.guidance.perp_neg and not join_prompt(words.negative_prompt, words.source_descriptors):
        raise UserError("--perp-neg has nothing to avoid: give --negative-prompt too")
    if config.guidance.stage == "auto":
        stages.check_reached(config.steps)
    return config
