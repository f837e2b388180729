"""The folders of runs: one for each, none of those that never began, nothing unfinished of those killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from datetime import datetime
from pathlib import Path

import pytest

from bridge_nerf.nerf.engine.trainer import BridgeTrainerConfig
from tests.nerf.conftest import ns_train
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


REFUSED = [
    "--max-num-iterations 0",
    "--pipeline.objective alchemy",
    "--pipeline.objective sds --pipeline.stage-start 10",
    "--pipeline.prior no-such-prior",
    "--load-dir nowhere",
    "--load-config nowhere.yml",
    "--machine.num-devices 2",
    "--pipeline.model.prompt 'a xylophone'",
    "--pipeline.model.prompt xylophone --timestamp chosen",
]


@pytest.mark.parametrize("flags", REFUSED)
def test_a_refused_command_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prior: StubPrior, flags: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if "--load-dir" not in flags:  # as of a prior that is on a hub
        monkeypatch.setattr("bridge_nerf.nerf.engine.validation.check_words", lambda *_: None)
    with pytest.raises(SystemExit, match="error: "):
        ns_train(f"ns-train bridge-distill --machine.device-type cpu --vis tensorboard {flags}")
    assert not list(tmp_path.iterdir())


def fail() -> None:
    raise BrokenPipeError


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


PLACES = {
    "sweep": "bridge_nerf.nerf.engine.trainer.sweep",
    "command": "bridge_nerf.nerf.engine.commands.train",
    "trainer": "nerfstudio.engine.trainer.GradScaler",
    "prior": "bridge_nerf.nerf.pipeline.BridgePipeline.setup_guidance",
    "log": "nerfstudio.utils.writer.setup_event_writer",
    "config": "bridge_nerf.nerf.engine.trainer.yaml.dump",
    "commands": "bridge_nerf.nerf.engine.trainer.BridgeTrainer._note_commands",
}


@pytest.mark.parametrize("chosen", ["", "--timestamp chosen"])
@pytest.mark.parametrize("stop", [fail, interrupt])
@pytest.mark.parametrize("place", PLACES)
def test_a_run_that_ends_before_it_begins_leaves_no_folder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prior: StubPrior,
    place: str,
    stop: Callable[[], None],
    chosen: str,
) -> None:
    (other := tmp_path / "outputs/a-pineapple/bridge-distill/other").mkdir(parents=True)
    (out := tmp_path / "mine").mkdir()
    folder = other.parents[2] if place == "sweep" else out / "new" / "outputs"
    monkeypatch.setattr(PLACES[place], lambda *_, **__: stop())
    with pytest.raises((SystemExit, BrokenPipeError)) as caught:
        ns_train(
            "ns-train bridge-distill --machine.device-type cpu --vis tensorboard --prompt 'a pineapple' "
            f"{chosen} --output-dir {folder}"
        )
    assert stop is fail or caught.value.code == 130  # type: ignore[union-attr]
    assert not list(out.iterdir()) and list(other.parent.iterdir()) == [other]


def test_a_file_where_a_folder_would_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "outputs/a-pineapple").mkdir(parents=True)
    (tmp_path / "outputs/a-pineapple/bridge-distill").touch()
    with pytest.raises(SystemExit, match=r"error: .*bridge-distill: "):
        ns_train(
            "ns-train bridge-distill --machine.device-type cpu --prompt 'a pineapple' "
            f"--output-dir {tmp_path}/outputs"
        )


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
