"""Nested configurations on the command line."""

import re
from dataclasses import dataclass, field
from typing import Annotated

import pytest
import tyro

from bridge_nerf.errors import UserError
from bridge_nerf.flags import check_flags, follow, given, leaves
from bridge_nerf.guidance.config import FLAT, GuidanceConfig, PriorConfig


@dataclass
class Command:
    prior: PriorConfig = field(default_factory=PriorConfig)
    guidance: Annotated[GuidanceConfig, FLAT] = field(default_factory=GuidanceConfig)


@dataclass
class Trainer:
    pipeline: Command = field(default_factory=Command)


ARGUMENTS = (
    "--pipeline.prior sdxl --pipeline.prior.dtype float16 --pipeline.ode-steps 5 --pipeline.times.stride 2"
)


def test_every_flag_is_spelled_as_tyro_spells_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        tyro.cli(Trainer, args=["--help"])
    words = re.split(r"[\s,|│]+", capsys.readouterr().out)
    assert {f"--{leaf.flag}" for leaf in leaves(Trainer())} <= set(words)


def test_prefixes_are_left_out() -> None:
    config = tyro.cli(Trainer, args=ARGUMENTS.split()).pipeline
    assert (config.prior.name, config.prior.dtype) == ("sdxl", "float16")
    assert (config.guidance.objective.ode_steps, config.guidance.times.stride) == (5, 2)


def test_what_was_given_stays_when_the_defaults_change() -> None:
    config, defaults = tyro.cli(Trainer, args=ARGUMENTS.split()), Trainer()
    flags = given(config, Trainer())
    assert flags == {word[2:] for word in ARGUMENTS.split() if word.startswith("--")}
    defaults.pipeline.guidance.objective.ode_steps = 7
    defaults.pipeline.guidance.times.minimum = 0.3
    assert follow(config, defaults, flags) == ["--pipeline.times.minimum 0.3"]
    assert config.pipeline.guidance.objective.ode_steps == 5


def test_ranges_stand_with_the_fields() -> None:
    config = Trainer()
    config.pipeline.guidance.objective.guidance_rescale = 2.0
    with pytest.raises(UserError, match="--pipeline.guidance-rescale 2 makes no sense; give a number from 0"):
        check_flags(config)
