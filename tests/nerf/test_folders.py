"""The folders of runs: one for each, none of those that never began, nothing unfinished of those killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from copy import deepcopy
from datetime import datetime

import pytest

from bridge_nerf.nerf.engine.trainer import BridgeTrainerConfig
from tests.nerf.engine.test_trainer import Train
from tests.nerf.stub import StubPrior


class Stopped(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz=None) -> Stopped:
        return cls(2026, 11, 27, 12, 0, 0)


def test_two_runs_of_one_second_have_two_folders(
    config: BridgeTrainerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nerfstudio.configs.experiment_config.datetime", Stopped)
    folders = []
    for _ in range(3):
        run = deepcopy(config)
        run.set_timestamp()
        folders.append(run.get_base_dir())
    assert [f.name for f in folders] == [f"2026-11-27_120000{end}" for end in ("", "_2", "_3")]
    assert all(folder.is_dir() for folder in folders)


@pytest.mark.parametrize("stop", ["an unknown word", "Ctrl-C"])
def test_a_run_that_never_began_leaves_no_folder(
    config: BridgeTrainerConfig, trained: Train, prior: StubPrior, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    if stop == "Ctrl-C":
        monkeypatch.setattr(StubPrior, "check_prompts", lambda *_: signal.raise_signal(signal.SIGINT))
    else:
        config.pipeline.model.prompt = "a xylophone"
        monkeypatch.setattr("bridge_nerf.nerf.engine.validation.check_words", lambda *_: None)
    kept = config.output_dir / "kept"
    kept.mkdir(parents=True)
    with pytest.raises(SystemExit) as caught:
        trained(config, "{timestamp}")
    assert caught.value.code == 130 if stop == "Ctrl-C" else "unknown word" in str(caught.value)
    assert list(config.output_dir.rglob("*")) == [kept]


def test_a_refused_run_leaves_an_earlier_one_of_its_folder(
    config: BridgeTrainerConfig, trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trained(deepcopy(config), "run")
    before = {p: p.read_bytes() for p in trainer.base_dir.rglob("*") if p.is_file()}
    monkeypatch.setattr(StubPrior, "check_prompts", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(SystemExit):
        trained(config, "run")
    assert {p: p.read_bytes() for p in trainer.base_dir.rglob("*") if p.is_file()} == before


def test_what_a_killed_run_had_not_finished_is_swept(config: BridgeTrainerConfig) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    config.set_timestamp()
    folder = config.get_base_dir()
    gone = folder / f".commands.txt.{process.pid}.unfinished"
    at_work = folder / f".commands.txt.{os.getpid()}.unfinished"
    gone.touch()
    at_work.touch()
    config.timestamp = "{timestamp}"
    config.set_timestamp()
    assert at_work.exists() and not gone.exists()


def test_without_a_prompt_it_is_said_what_is_made(
    config: BridgeTrainerConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    for prompt, said in ((None, True), ("a pineapple", False)):
        run = deepcopy(config)
        run.prior_kind, run.prompt = "", prompt
        run.set_timestamp()
        assert ('without --prompt this makes "a pineapple"' in capsys.readouterr().out) == said
