"""Whatever stands on a command line, the command refuses it in one line and a code that is not 0, or begins
with numbers within their ranges: no other exception, no end that does not come.

What takes long is replaced by a note that it would begin now.
"""

from __future__ import annotations

import math
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tyro
from hypothesis import given
from hypothesis import strategies as st
from nerfstudio.configs.method_configs import all_methods
from nerfstudio.scripts import train as ns_train

from bridge_nerf import cli
from bridge_nerf.cli import evaluate, images, toybox
from bridge_nerf.cli.diagnostics import PlotErrors
from bridge_nerf.flags import STEPS, Leaf, leaves
from bridge_nerf.guidance.config import PriorConfig
from bridge_nerf.images.image_files import MAX_SIDE
from bridge_nerf.images.spec import MAX_BATCH, Spec
from bridge_nerf.nerf.engine.validation import exit_on_user_error
from tests.nerf.stub import StubPrior
from tests.robustness.files import MAKERS, READERS
from tests.robustness.judging import bounded, cases
from tests.robustness.words import PLACES, TEXTS, put_places, valued, words_for

pytestmark = pytest.mark.filterwarnings("ignore")
LONGER = 10
"""Cases of the slow tests for one of the fast ones."""
SCENES = 50
"""Fast cases of ns-train."""


class Begun(BaseException):
    """A command that was accepted and would now begin."""


@dataclass(frozen=True)
class Call:
    """A command with the words that it needs."""

    kind: type
    words: tuple[str, ...]
    cases: int
    """Command lines in the fast tests."""


CALLS = {
    "image": Call(images.Image, ("--prompt", "a ball"), 25),
    "paint": Call(images.Paint, ("--prompt", "a ball", "--input", "picture.png"), 15),
    "illusion": Call(images.Illusion, ("--prompt", "a ball", "--prompt", "a car"), 8),
    "compare": Call(images.Compare, ("--prompt", "a ball"), 8),
    "batch": Call(images.Batch, ("prompts.txt",), 10),
    "reproduce": Call(images.Reproduce, ("picture.png",), 10),
    "evaluate": Call(evaluate.EvaluateImages, (), 2),
    "train-toybox": Call(toybox.TrainToybox, (), 20),
    "evaluate-toybox": Call(toybox.EvaluateToybox, ("--what", "judge"), 12),
    "plot-errors": Call(PlotErrors, ("metrics.csv",), 10),
    "sample": Call(toybox.SamplePrior, ("a ball",), 15),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image, a log and prompts. Not to be changed."""
    top = tmp_path_factory.mktemp("made")
    for name in ("painting", "finished", "texts"):
        (top / name).mkdir()
        MAKERS[name](top / name)
    files = ("painting/picture.png", "painting/painting.png", "finished/metrics.csv", "texts/prompts.txt")
    for name in files:
        shutil.copy(top / name, top / Path(name).name)
    return top


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function that makes a new current folder with these files, and devices."""

    def fresh() -> None:
        folder = tmp_path / "here"
        monkeypatch.chdir(tmp_path)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for path in made.iterdir():
            if path.is_file():
                shutil.copy(path, folder)
        monkeypatch.chdir(folder)
        put_places()

    return fresh


@pytest.fixture(autouse=True)
def blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that takes long begins."""

    def begin(*given: Any, **named: Any) -> Any:
        check_work([*given, *named.values()])
        raise Begun

    def load(config: PriorConfig, device: str | None = None) -> tuple[str, StubPrior]:
        return config.resolve(device)[0], StubPrior()

    monkeypatch.setattr(PriorConfig, "load", load)
    for place in (
        "bridge_nerf.images.run.optimise_images",
        "bridge_nerf.images.reproduce.optimise_images",
        "bridge_nerf.images.compare.compare",
        "bridge_nerf.images.batch.run_batch",
        "bridge_nerf.evaluation.report.sampled",
        "bridge_nerf.evaluation.report.judge_figures",
        "bridge_nerf.evaluation.report._scenes",
        "bridge_nerf.toybox.training.recipe.shard_of",
    ):
        monkeypatch.setattr(place, begin)
    monkeypatch.setattr("bridge_nerf.evaluation.image_tables.image_tables", lambda *_: begin())
    figures = dict.fromkeys(("objects", "flaws", "held-out"), begin)
    monkeypatch.setattr("bridge_nerf.evaluation.report.PRIOR_FIGURES", figures)
    monkeypatch.setattr("bridge_nerf.evaluation.diagnostics.svg", lambda figure: b"<svg/>")
    monkeypatch.setattr(ns_train, "launch", begin)
    monkeypatch.setattr("bridge_nerf.nerf.engine.trainer.yaml.dump", lambda config: "")  # a tenth of a second


def check_work(given: Sequence[Any]) -> None:
    """Fail for a specification of more than can be made, or of a prompt without a word."""
    for spec in specs_in(given):
        assert 1 <= spec.config.steps <= STEPS.most
        assert max(spec.size) <= MAX_SIDE and len(spec.subjects) <= MAX_BATCH
        for leaf in leaves(spec.config):
            numbers = leaf.value if isinstance(leaf.value, tuple) else (leaf.value,)
            assert all(math.isfinite(x) for x in numbers if isinstance(x, int | float)), leaf.flag
        for subject in spec.subjects:
            assert all(re.search(r"[^\s,.]", prompt) for prompt in subject.prompts), subject


def specs_in(given: Any) -> Iterator[Spec]:
    """Every specification among arguments, their lists and dictionaries."""
    if isinstance(given, Spec):
        yield given
    elif isinstance(given, dict | list | tuple):
        for part in given.values() if isinstance(given, dict) else given:
            yield from specs_in(part)


def answer(call: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line in which a command refuses; empty where it accepts and would begin, or has ended well."""
    capsys.readouterr()
    sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # as Python's own
    try:
        with bounded():
            call()
    except Begun:
        return ""
    except SystemExit as stop:
        said = capsys.readouterr().err
        assert stop.code not in (0, None) and "Traceback" not in said
        if stop.code == 2:  # tyro's, which draws a frame
            assert said.strip()
            return said
        assert isinstance(stop.code, str) and stop.code.strip(), stop.code
        assert stop.code.isprintable() and "Traceback" not in stop.code, f"not one line: {stop.code!r}"
        return stop.code
    return ""


def bridge_nerf(monkeypatch: pytest.MonkeyPatch, call: Call, words: Sequence[str]) -> Callable[[], None]:
    """The call of one command of `bridge-nerf`, for to look for it among the others takes longer than all
    the rest."""
    monkeypatch.setattr(sys.modules["bridge_nerf.cli.main"], "Command", call.kind)
    monkeypatch.setattr(sys, "argv", ["bridge-nerf", *words])
    return cli.main


def flags_of(call: Call, monkeypatch: pytest.MonkeyPatch) -> list[Leaf]:
    """The flags of a command, with their defaults."""
    seen: list[Any] = []
    with monkeypatch.context() as patched:
        patched.setattr(call.kind, "run", lambda command: seen.append(command))
        bridge_nerf(patched, call, call.words)()
    positional = ("file", "folder", "prompts") if call.kind is not toybox.TrainToybox else ()
    return [leaf for leaf in leaves(seen[0]) if leaf.flag not in (*positional, "overrides")]


def command_lines(call: Call, flags: Sequence[Leaf]) -> st.SearchStrategy[list[str]]:
    """The words of a command: one to three flags, and at times another word in the place of one it needs."""
    some = st.lists(st.sampled_from(flags).flatmap(words_for), min_size=1, max_size=3)
    more = some.map(lambda parts: [word for part in parts for word in part])
    needed = [place for place, word in enumerate(call.words) if not word.startswith("--")]

    def replaced(place: int, word: str) -> list[str]:
        return [*call.words[:place], word, *call.words[place + 1 :]]

    words = st.just(list(call.words))
    if needed:
        words = (
            words | words | st.builds(replaced, st.sampled_from(needed), st.sampled_from((*TEXTS, *PLACES)))
        )
    return st.builds(list.__add__, words, more)


@pytest.mark.parametrize("name", CALLS)
def test_the_commands_that_are_varied_begin(
    name: str,
    here: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here()
    assert answer(bridge_nerf(monkeypatch, CALLS[name], CALLS[name].words), capsys) == ""


BAD = [
    ("image", "--steps", "99999999999999999999"),
    ("image", "--size", "100000"),
    ("image", "--size", "0"),
    ("image", "--seed", "-1"),
    ("image", "--seed", "4294967296"),
    ("image", "--count", "100000"),
    ("image", "--learning-rate", "nan"),
    ("image", "--learning-rate", "-1"),
    ("image", "--learning-rate", "1e300"),
    ("image", "--objective", "vsd", "--adapter-rank", "100000"),
    ("image", "--prompt", ", , ,"),
    ("image", "--prior", "toybox", "--prior.revision", "auto"),
    ("image", "--prior.device", "meta"),
    ("image", "--prior.device", "mps"),
    ("paint", "--input", "log"),
    ("paint", "--input", "zeros"),
    ("paint", "--input", "pipe"),
    ("sample", "--steps", "5000"),
    ("sample", "--count", "100000"),
    ("sample", "--guidance-scale", "nan"),
    ("train-toybox", "--devices", "0"),
    ("train-toybox", "--devices", "-1"),
    ("train-toybox", "--seed", "-1"),
    ("plot-errors", "--out", "metrics.csv"),
    ("plot-errors", "--out", "zeros"),
    ("plot-errors", "--out", "."),
    ("plot-errors", "--out", "loop"),
    ("reproduce", "--prior", "a\nb"),
    ("paint", "--input", "a\nb"),
]
"""Commands that once began, hung or ended in a traceback."""


@pytest.mark.parametrize("words", BAD, ids=" ".join)
def test_what_once_went_wrong_is_refused(
    words: tuple[str, ...],
    here: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here()
    call = CALLS[words[0]]
    said = answer(bridge_nerf(monkeypatch, call, (*call.words, *words[1:])), capsys)
    assert said.startswith("bridge-nerf: ")


@pytest.mark.parametrize("length", ["fast", pytest.param("longer", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CALLS)
def test_a_command_is_refused_or_begins(
    name: str,
    length: str,
    here: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here()
    call, seen = CALLS[name], []
    number = call.cases * (1 if length == "fast" else LONGER)

    @cases(number)
    @given(command_lines(call, flags_of(call, monkeypatch)))
    def check(words: list[str]) -> None:
        seen.append(words)
        here()
        answer(bridge_nerf(monkeypatch, call, words), capsys)

    check()
    assert len(seen) >= number


METHODS = ("bridge-distill", "bridge-distill-tiny", "bridge-distill-fine")


def scene_flags() -> st.SearchStrategy[tuple[str, str, int, Any]]:
    """(method, flag, its place among the leaves, value) of a flag of ns-train."""
    flags = [(name, place, leaf, of) for name in METHODS for place, leaf, of in valued(all_methods[name])]
    return st.sampled_from(flags).flatmap(
        lambda flag: st.tuples(st.just(flag[0]), st.just(flag[2].flag), st.just(flag[1]), flag[3])
    )


def ns_trained(monkeypatch: pytest.MonkeyPatch, name: str, flag: str, place: int, value: Any) -> None:
    """Call ns-train with the value of one flag."""
    config = deepcopy(all_methods[name])
    config.machine.device_type = "cpu"
    list(leaves(config))[place].put(value)
    with exit_on_user_error():
        config.__post_init__()
    monkeypatch.setattr(sys, "argv", ["ns-train", name, f"--{flag}", "..."])
    ns_train.main(config)


@pytest.mark.parametrize("length", ["fast", pytest.param("longer", marks=pytest.mark.slow)])
def test_ns_train_is_refused_or_begins(
    length: str,
    here: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    number, seen = SCENES * (1 if length == "fast" else LONGER), []

    @cases(number)
    @given(scene_flags())
    def check(flag: tuple[str, str, int, Any]) -> None:
        here()
        seen.append(flag)
        answer(lambda: ns_trained(monkeypatch, *flag), capsys)

    check()
    assert len(seen) >= number


def ns_trained_by_words(monkeypatch: pytest.MonkeyPatch, name: str, words: Sequence[str]) -> None:
    """Call ns-train with these words, which tyro reads."""
    monkeypatch.setattr(sys, "argv", ["ns-train", name, *words])
    default = deepcopy(all_methods[name])
    default.machine.device_type = "cpu"
    ns_train.main(tyro.cli(type(default), default=default, args=list(words), prog=f"ns-train {name}"))


BAD_SCENES = [
    ("--max-num-iterations", "99999999999999999999"),
    ("--machine.seed", "-1"),
    ("--method-name", ""),
    ("--load-config", "picture.png"),
    ("--machine.num-devices", "0"),
    ("--machine.num-devices", "2"),
    ("--machine.device-type", "mps"),
    ("--pipeline.prior.device", "meta"),
    ("--pipeline.model.field.hidden", "-1"),
    ("--optimizers.network.optimizer.eps", "nan"),
    ("--optimizers.network.optimizer.lr", "1e300"),
    ("--pipeline.objective", "vsd", "--pipeline.adapter-rank", "100000"),
    ("--load-config", "nowhere.yml"),
    ("--load-config", "."),
    ("--load-config", "prompts.txt"),
    ("--load-config", "pipe"),
    ("--load-checkpoint", "picture.png"),
    ("--vis", "wandb"),
    ("--vis", "comet"),
]
"""Flags of ns-train that once began, hung or ended in a traceback."""


@pytest.mark.parametrize("words", BAD_SCENES, ids=" ".join)
def test_what_once_went_wrong_with_scenes_is_refused(
    words: tuple[str, ...],
    here: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here()
    for name in ("WANDB_API_KEY", "COMET_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    words = ("--prompt", "a duck", *words)
    assert answer(lambda: ns_trained_by_words(monkeypatch, "bridge-distill", words), capsys)


@pytest.mark.slow
def test_words_of_ns_train_are_refused_or_it_begins(
    here: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags, seen = list(leaves(all_methods["bridge-distill"])), []
    some = st.lists(st.sampled_from(flags).flatmap(words_for), min_size=1, max_size=2)

    @cases(SCENES * 6)
    @given(some)
    def check(parts: list[list[str]]) -> None:
        here()
        seen.append(parts)
        words = ["--prompt", "a duck", *[word for part in parts for word in part]]
        answer(lambda: ns_trained_by_words(monkeypatch, "bridge-distill", words), capsys)

    check()
    assert len(seen) >= SCENES * 6


def test_a_thousand_cases_are_tried() -> None:
    """Those of the fast tests alone, of files and of both command lines."""
    files = sum(reader.cases for reader in READERS.values())
    assert files + sum(call.cases for call in CALLS.values()) + SCENES >= 1000
