"""`make card` rehearsed on a CPU: items leave figures, failures are said, verdicts fall with figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.card import items, report
from benchmarks.card.__main__ import PARTS, main
from benchmarks.card.items import NotHere, Options
from benchmarks.card.report import GOALS, good


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options(tmp_path / "card", device="cpu", small=True, isolated=False)


def rehearsed(part: str, names: list[str], options: Options) -> dict[str, Any]:
    """What items of a part leave on disk."""
    every = PARTS[part]()
    items.run(part, {name: every[name] for name in names}, options)
    found = json.loads((options.out / f"{part}.json").read_text())
    assert found["machine"]["small"] and found["machine"]["torch"] == torch.__version__
    assert list(found["items"]) == names
    return found["items"]


def test_correctness(options: Options) -> None:
    pytest.importorskip("nerfstudio")
    names = ["gradients, sd-v", "renderer, grid", "hash kernel", "CUDA graphs, sd-2.1"]
    found = rehearsed("correctness", names, options)
    assert all(map(good, found.values()))
    assert found["gradients, sd-v"]["figures"]["gradients"] == 9
    assert found["gradients, sd-v"]["figures"]["worst in float32"] == 0.0  # the CPU against itself
    assert found["gradients, sd-v"]["figures"]["worst in bfloat16"] > 0
    assert all("CUDA" in found[name]["not here"] for name in names[2:])


@pytest.mark.slow
def test_speed(options: Options) -> None:
    pytest.importorskip("nerfstudio")
    found = rehearsed("speed", ["bridge-distill, sd-2.1", "image"], options)
    assert all(map(good, found.values())), found
    figures = found["bridge-distill, sd-2.1"]["figures"]
    assert figures["steps of a run"] == 10_000
    late = next(value for name, value in figures.items() if name.startswith("step at 24"))
    early = next(value for name, value in figures.items() if name.startswith("step at 16"))
    assert min(early, late) <= figures["a run, minutes"] * 6 <= max(early, late) + 0.1
    assert found["image"]["figures"]["1000 steps, s"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_all_of_a_part(options: Options, part: str) -> None:
    found = rehearsed(part, list(PARTS[part]()), options)
    assert all(map(good, found.values())), found


@pytest.mark.slow
def test_runs(options: Options) -> None:
    found = rehearsed("runs", ["image, sds"], options)
    assert good(found["image, sds"]), found
    assert list((options.out / "runs").rglob("picture*.png"))


def test_what_fails_is_said_and_ends_nothing(options: Options) -> None:
    def fails(_: Options) -> dict[str, Any]:
        raise ValueError("a | b\nc")

    def elsewhere(_: Options) -> dict[str, Any]:
        raise NotHere("on a card alone")

    plan = {
        "a": fails,
        "b": elsewhere,
        "c": lambda _: {"steps": 3, "there": False},
        "d": lambda _: {"x": 1.5},
    }
    items.run("runs", plan, options)
    page = options.out / "page.md"
    report.write(options.out, page)
    text = page.read_text()
    assert "1 of 4 items are as they should be; **not: a; c**; not on this device: b." in text
    assert "**failed**: ValueError: a / b c" in text and "there: **no**" in text and "x: 1.5" in text
    assert "A rehearsal" in text and json.loads(page.with_suffix(".json").read_text())["runs"]["items"]["d"]


def test_an_item_is_not_begun_when_time_is_over(options: Options) -> None:
    items.run("runs", {"a": lambda _: {"x": 1}}, Options(options.out, "cpu", limit=1.0))
    found = json.loads((options.out / "runs.json").read_text())["items"]["a"]
    assert "not begun" in found["failed"] and not good(found)


@pytest.mark.slow
def test_an_item_of_its_own_process_may_crash_or_hang(options: Options) -> None:
    apart = Options(options.out, "no-such-device", small=True)
    options.out.mkdir()
    crashed = items._apart("correctness", "renderer, grid", apart, 300)
    assert "RuntimeError" in crashed["failed"] and "no-such-device" in crashed["failed"]
    hung = items._apart("correctness", "renderer, grid", apart, 0.1)
    assert "took longer than" in hung["failed"]


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: goal.item)
def test_verdicts_fall_with_their_figures(goal: report.Goal) -> None:
    def verdict(value: float) -> str:
        item = {"figures": {goal.figure: value}, "seconds": 1.0}
        return goal.verdict({"speed": {"items": {goal.item: item}}})

    sides = [verdict(goal.limit * factor) for factor in (0.9, 1.0, 1.1)]
    assert sides == ["reached", "reached", "missed"][:: 1 if goal.most else -1]
    assert (
        goal.verdict({}) == goal.verdict({"speed": {"items": {goal.item: {"failed": "x"}}}}) == "not measured"
    )
    assert goal.item in PARTS["speed"]()


@pytest.mark.parametrize(
    "found",
    [{"too large": 1}, {"not finite": 2}, {"picture*.png": False}],
    ids=lambda found: next(iter(found)),
)
def test_an_item_is_not_good_for_having_ended(found: dict[str, Any]) -> None:
    assert good({"figures": {"x": 1}}) and not good({"figures": {"x": 1, **found}})


def test_the_page_in_the_repository_is_that_of_its_figures() -> None:
    page = items.ROOT / "docs/card.md"
    figures = page.with_suffix(".json")
    parts = json.loads(figures.read_text()) if figures.exists() else dict.fromkeys(report.PARTS)
    assert page.read_text() == report.text(parts)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_a_machine_without_a_card_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no device cuda.*rehearsal"):
        main(["correctness", "--out", str(tmp_path)])
