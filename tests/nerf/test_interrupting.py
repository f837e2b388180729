"""Training that a signal ends: the step is finished and kept, and going on is never having stopped."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.engine.optimizers import Optimizers
from PIL import Image

from bridge_nerf.nerf.engine import checkpoint, turntable
from bridge_nerf.nerf.engine.trainer import BridgeTrainer, BridgeTrainerConfig
from tests.nerf.conftest import forget_writers, noted, ns_train
from tests.nerf.engine.test_trainer import Train, same, state
from tests.nerf.stub import StubPrior
from tests.waiting import PATIENCE

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


def before(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: Callable[[], object], at: int
) -> None:
    """Make the call amid the `at`-th call of a function."""
    original, calls = getattr(owner, name), []

    def called(*given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == at:
            call()
        return original(*given, **named)

    monkeypatch.setattr(owner, name, called)


def interrupted(config: BridgeTrainerConfig, trained: Train, name: str = "run") -> Path:
    """The folder of a run that a signal ends."""
    with pytest.raises(SystemExit) as caught:
        trained(config, name)
    assert caught.value.code == 130
    assert not list(config.output_dir.rglob("*.unfinished"))
    assert signal.getsignal(INT) is signal.default_int_handler
    assert signal.getsignal(TERM) is signal.getsignal(HUP) is signal.SIG_DFL
    return config.get_base_dir()


def went_on(run: Path) -> dict:
    """The last state of the run that its own command goes on with."""
    before = set(run.parent.iterdir())
    ns_train(noted(run)["resume"])
    (second,) = set(run.parent.iterdir()) - before
    return checkpoint.read(checkpoint.latest(second / "nerfstudio_models"))


AMID = {
    "forward": (StubPrior, "eps"),
    "backward": (torch.Tensor, "backward"),
    "update": (Optimizers, "scheduler_step_all"),
    "log": (BridgeTrainer, "eval_iteration"),
}


@pytest.mark.parametrize("place", AMID)
@pytest.mark.parametrize("number", [INT, TERM, HUP])
def test_the_step_is_finished_and_going_on_is_never_having_stopped(
    config: BridgeTrainerConfig,
    trained: Train,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    number: signal.Signals,
    place: str,
) -> None:
    config.steps_per_save = 5
    whole = state(trained(deepcopy(config), "whole"))
    forget_writers()
    capfd.readouterr()
    with monkeypatch.context() as patch:
        before(patch, *AMID[place], lambda: signal.raise_signal(number), at=3)
        run = interrupted(config, trained)
    path = checkpoint.latest(run / "nerfstudio_models")
    step = checkpoint.read(path)["step"]
    assert 0 < step < 5 and path.name == f"step-{step:09d}.ckpt"
    said, commands = capfd.readouterr(), noted(run)
    by_hand = number == INT
    assert ("saving checkpoint and turntable; Ctrl-C again" in said.err) == by_hand
    assert f"stopped after {step + 1} of 6 steps; {run} keeps {path.name}" in said.out
    assert (
        commands.keys() == {"view", "resume", "render", "export"}
        and f"to resume:\n{commands['resume']}" in said.out
    )
    assert all((run / name).exists() == by_hand for name in turntable.FILES)
    assert f"--load-step {step} --max-num-iterations {5 - step}" in commands["resume"]
    assert same(went_on(run), whole)


def test_the_turntable_shows_what_there_is(
    config: BridgeTrainerConfig, trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    before(monkeypatch, torch.Tensor, "backward", lambda: signal.raise_signal(INT), at=2)
    run = interrupted(config, trained)
    sheet = np.asarray(Image.open(run / "turntable.png"))
    assert sheet.shape == (16, 4 * 16, 3) and sheet.std() > 10


SECOND = {
    "checkpoint": (checkpoint, "save"),
    "picture": (turntable, "frames"),
    "video": (turntable, "video"),
    "sheet": (turntable, "contact_sheet"),
    "last words": (BridgeTrainer, "shutdown"),
}


@pytest.mark.parametrize("place", SECOND)
def test_the_second_one_stops_at_once(
    config: BridgeTrainerConfig, trained: Train, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    before(monkeypatch, torch.Tensor, "backward", lambda: signal.raise_signal(INT), at=4)
    saves = 2 if place == "checkpoint" else 1  # the first is that of the step 2
    before(monkeypatch, *SECOND[place], lambda: signal.raise_signal(INT), at=saves)
    run = interrupted(config, trained)
    kept = 2 if place == "checkpoint" else 3
    assert checkpoint.read(checkpoint.latest(run / "nerfstudio_models"))["step"] == kept
    assert f"--load-step {kept} " in noted(run)["resume"]
    assert (run / "turntable.mp4").exists() == (place in ("sheet", "last words"))
    assert (run / "turntable.png").exists() == (place == "last words")


def test_all_steps_made_and_saved_there_is_nothing_to_wait_for(
    config: BridgeTrainerConfig, trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    before(monkeypatch, turntable, "frames", lambda: signal.raise_signal(TERM), at=1)
    run = interrupted(config, trained)
    assert checkpoint.read(checkpoint.latest(run / "nerfstudio_models"))["step"] == 5
    assert "--load-step 5 " in noted(run)["resume"] and not (run / "turntable.mp4").exists()


@pytest.mark.parametrize("number", [INT, TERM])
def test_the_last_step_is_kept_too(
    config: BridgeTrainerConfig, trained: Train, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    config.steps_per_save = 4
    before(monkeypatch, checkpoint, "save", lambda: signal.raise_signal(number), at=2)
    run = interrupted(config, trained)
    assert checkpoint.read(checkpoint.latest(run / "nerfstudio_models"))["step"] == 5
    assert (run / "turntable.mp4").exists() == (number == INT)


def test_no_evaluation_is_waited_for(
    config: BridgeTrainerConfig, trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bridge_nerf.nerf.pipeline import BridgePipeline

    asked: list[int] = []
    monkeypatch.setattr(
        BridgePipeline, "get_eval_image_metrics_and_images", lambda *_, step: asked.append(step)
    )
    before(monkeypatch, torch.Tensor, "backward", lambda: signal.raise_signal(TERM), at=4)
    interrupted(config, trained)
    assert not asked


def test_before_the_first_step_there_is_a_command_to_start_again_alone(
    config: BridgeTrainerConfig, trained: Train, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    before(monkeypatch, BridgeTrainer, "_init_viewer_state", lambda: signal.raise_signal(INT), at=1)
    run = interrupted(config, trained)
    names = {path.name for path in run.iterdir() if "events" not in path.name}
    assert names == {"commands.txt", "config.yml", "dataparser_transforms.json"}
    commands = noted(run)
    assert commands.keys() == {"start"} and "--load-dir" not in commands["start"]
    assert f"to start again:\n{commands['start']}" in capsys.readouterr().out
    earlier = set(run.parent.iterdir())
    ns_train(commands["start"])
    (second,) = set(run.parent.iterdir()) - earlier
    assert checkpoint.latest(second / "nerfstudio_models").name == "step-000000005.ckpt"


def test_a_resumed_run_that_makes_no_step_names_the_checkpoint_that_there_is(
    config: BridgeTrainerConfig, trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trained(deepcopy(config), "first")
    before(monkeypatch, BridgeTrainer, "_init_viewer_state", lambda: signal.raise_signal(INT), at=1)
    config.load_dir = first.checkpoint_dir
    commands = noted(interrupted(config, trained))
    assert commands.keys() == {"resume"}
    assert f"--load-dir {first.checkpoint_dir} --load-step 5 --max-num-iterations 6" in commands["resume"]


def later(call: Callable[[], object], when: Callable[[], bool]) -> threading.Thread:
    """A thread that makes a call once something holds."""

    def wait() -> None:
        end = time.monotonic() + PATIENCE
        while not when() and time.monotonic() < end:
            time.sleep(0.01)
        call()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def set_up(config: BridgeTrainerConfig) -> BridgeTrainer:
    config.timestamp = "run"
    config.set_timestamp()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    return trainer


def apply_and_end(trainer: BridgeTrainer, number: signal.Signals) -> None:
    """Apply another prompt in the viewer, and send a signal."""
    controls = trainer.pipeline.controls
    controls.a_prompt.value = "a ball"
    controls.f_apply.cb_hook(controls.f_apply)
    signal.pthread_kill(threading.main_thread().ident, number)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [INT, TERM])
def test_a_paused_training_ends_too_and_takes_over_what_was_applied(
    config: BridgeTrainerConfig, prior: StubPrior, number: signal.Signals
) -> None:
    trainer = set_up(config)

    def pause() -> None:
        trainer.training_state = "paused"

    before_step = trainer.train_iteration
    trainer.train_iteration = lambda step: (pause() if step == 3 else None, before_step(step))[1]
    thread = later(lambda: apply_and_end(trainer, number), lambda: trainer._made == 3)
    with pytest.raises(SystemExit, match="130"):
        trainer.train()
    thread.join(PATIENCE)
    assert checkpoint.read(checkpoint.latest(trainer.checkpoint_dir))["step"] == 3
    assert "--prompt 'a ball'" in noted(trainer.base_dir)["resume"]


def test_what_was_applied_before_the_first_step_is_taken_over_too(
    config: BridgeTrainerConfig, prior: StubPrior
) -> None:
    config.start_paused = True
    trainer = set_up(config)

    default = signal.default_int_handler
    thread = later(lambda: apply_and_end(trainer, INT), lambda: signal.getsignal(INT) is not default)
    with pytest.raises(SystemExit, match="130"):
        trainer.train()
    thread.join(PATIENCE)
    assert "--prompt 'a ball'" in noted(trainer.base_dir)["start"]


def test_the_viewer_that_waits_at_the_end_is_closed(
    config: BridgeTrainerConfig, prior: StubPrior, capsys: pytest.CaptureFixture[str]
) -> None:
    config.vis, config.viewer.quit_on_train_completion = "viewer", False
    trainer = set_up(config)

    def stop() -> None:
        signal.pthread_kill(threading.main_thread().ident, INT)  # type: ignore[arg-type]

    completed = [False]
    trainer.viewer_state.training_complete = lambda: completed.insert(0, True)  # type: ignore[union-attr]
    thread = later(stop, lambda: completed[0])
    with pytest.raises(SystemExit, match="130"):
        trainer.train()
    thread.join(PATIENCE)
    assert (trainer.base_dir / "turntable.mp4").exists()
    assert checkpoint.read(checkpoint.latest(trainer.checkpoint_dir))["step"] == 5


def test_a_training_that_another_thread_shuts_down_counts_its_steps_right(
    config: BridgeTrainerConfig, trained: Train, prior: StubPrior
) -> None:
    whole = state(trained(deepcopy(config), "whole"))
    forget_writers()
    trainer = set_up(config)
    made = trainer.train_iteration

    def iteration(step: int) -> Any:
        if step == 3:
            trainer.shutdown()
        return made(step)

    trainer.train_iteration = iteration
    trainer.train()
    assert checkpoint.read(checkpoint.latest(trainer.checkpoint_dir))["step"] == 3
    assert same(went_on(trainer.base_dir), whole)
