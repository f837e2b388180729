"""Ranges of numbers, and text that is not text."""

import importlib
import math
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from bridge_nerf.cli.evaluate import EvaluateImages
from bridge_nerf.cli.images import Batch, Compare, Illusion, Image, Paint
from bridge_nerf.cli.ranges import RANGES
from bridge_nerf.cli.scenes import Export, Render
from bridge_nerf.cli.toybox import EvaluateToybox, SamplePrior, TrainToybox
from bridge_nerf.errors import UserError
from bridge_nerf.flags import FINITE, SHARE, Leaf, Range, check_flags, leaves

entry: Any = importlib.import_module("bridge_nerf.cli.main")  # the package has a function of that name

COUNT = Range(1)
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("range_", "inside", "outside", "said"),
    [
        (FINITE, [-1e300, 0, 2**70], [NAN, INF, -INF], "a finite number"),
        (COUNT, [1, 10**400], [0, -1, NAN, INF], "a number from 1 on"),
        (SHARE, [0, 0.5, 1], [-1e-9, 1.1, NAN], "a number from 0 to 1"),
        (Range(0, below=1), [0, 0.999], [1, -1, NAN], "a number from 0 to below 1"),
        (Range(above=0), [1e-9, 1e9], [0, INF, NAN], "a number above 0"),
    ],
)
def test_a_range_says_what_it_holds(range_: Range, inside: list, outside: list, said: str) -> None:
    assert all(map(range_.holds, inside)) and not any(map(range_.holds, outside))
    assert str(range_) == said


@dataclass
class Part:
    steps: int = 3
    words: tuple[str, ...] = ("a", "b")
    _target: type = int


@dataclass
class Whole:
    rate: float | None = None
    is_it: bool = False
    some_part: Part = field(default_factory=Part)
    table: dict = field(default_factory=lambda: {"near_plane": 0.1})
    sizes: tuple[int, ...] = (1, 2)


def test_every_value_has_its_flag() -> None:
    assert {leaf.flag: leaf.value for leaf in leaves(Whole())} == {
        "rate": None,
        "is-it": False,
        "some-part.steps": 3,
        "some-part.words": ("a", "b"),
        "table.near-plane": 0.1,
        "sizes": (1, 2),
    }


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (Whole(rate=NAN), "--rate nan makes no sense; give a finite number"),
        (Whole(some_part=Part(steps=0)), "--some-part.steps 0 makes no sense; give a number from 1 on"),
        (Whole(table={"near_plane": INF}), "--table.near-plane inf makes no sense"),
        (Whole(sizes=(1, -5)), "--sizes -5 makes no sense"),
        (Whole(sizes=()), "--sizes says nothing; give a number from 1 on, or several"),
        (
            Whole(some_part=Part(words=("a", "caf\udce9"))),
            '--some-part.words "caf\\udce9" holds bytes that are',
        ),
    ],
)
def test_what_makes_no_sense_is_said_with_its_flag(config: Whole, said: str) -> None:
    ranges = {"some-part.steps": COUNT, "sizes": COUNT, "is-it": COUNT}
    check_flags(Whole(), ranges)
    with pytest.raises(UserError) as caught:
        check_flags(config, ranges)
    assert str(caught.value).startswith(said)


def numbers_of_commands() -> dict[str, tuple[Any, Leaf]]:
    """ "COMMAND --FLAG" -> the command and the flag, for every number that bridge-nerf takes."""
    found = {}
    for kind in (*COMMANDS, EvaluateImages):
        hints = get_type_hints(kind)
        needed = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
        command = kind(**{name: {Path: Path("a"), str: "a"}.get(hints[name], ("a",)) for name in needed})
        for leaf in leaves(command):
            hint = get_type_hints(type(leaf.owner))[leaf.name]
            if {int, float} & {hint, *get_args(hint)}:
                found[f"{kind.__name__} --{leaf.flag}"] = command, leaf
    return found


COMMANDS = (Image, Paint, Illusion, Compare, Batch, Export, Render, TrainToybox, EvaluateToybox, SamplePrior)
NUMBERS = numbers_of_commands()


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_of_every_command_has_a_least_and_a_most(name: str) -> None:
    command, leaf = NUMBERS[name]
    within = getattr(type(leaf.owner), "RANGES", {}).get(leaf.name) or RANGES.get(leaf.flag, FINITE)
    least, most = max(within.least, within.above), min(within.most, within.below)
    assert math.isfinite(least) and math.isfinite(most), f"{name} takes {within}"
    for number in (NAN, INF, -INF, least - 1, most + 1, 10**25, -(10**25)):
        leaf.put((number,) if isinstance(leaf.value, tuple) else number)
        with pytest.raises(UserError, match=f"--{leaf.flag} .* makes no sense; give a number") as caught:
            check_flags(command, RANGES)
        assert "\n" not in str(caught.value)
    leaf.put(leaf.value)
    check_flags(command, RANGES)


def test_the_commands_are_all_there_are() -> None:
    kinds = {get_args(kind)[0].__name__ for kind in get_args(entry.Command)}
    assert kinds - {kind.__name__ for kind in COMMANDS} == {"Reproduce", "Evaluate", "PlotErrors", "Doctor"}
