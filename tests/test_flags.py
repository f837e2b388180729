"""Ranges of numbers, and text that is not text."""

from dataclasses import dataclass, field

import pytest

from bridge_nerf.errors import UserError
from bridge_nerf.flags import COUNT, FINITE, SHARE, Range, check_flags, leaves

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
