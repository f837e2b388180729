"""Runs of ns-train that Ctrl-C, SIGTERM or SIGHUP ends at any moment: what is there opens and renders, and by
the commands that they note they end as one that never stopped.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from nerfstudio.configs.method_configs import all_methods
from nerfstudio.utils.eval_utils import eval_setup

from bridge_nerf.nerf.engine import checkpoint, saved_config, turntable
from tests.nerf.conftest import noted, ns_train
from tests.nerf.engine.test_trainer import same
from tests.nerf.stub import StubPrior
from tests.robustness.processes import End, begin, end
from tests.robustness.test_kills import check_whole
from tests.waiting import PATIENCE

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(sys.platform != "linux", reason="processes are forked"),
]
SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
STEPS = 30
COMMAND = (
    "ns-train bridge-distill --prompt 'a pineapple' --vis tensorboard --machine.device-type cpu "
    f"--max-num-iterations {STEPS} --steps-per-save 3 --steps-per-eval-image 4 --turntable-frames 16 "
    "--pipeline.prior toybox --pipeline.stage-start 10 --pipeline.model.samples 16 "
    "--pipeline.datamanager.train-resolution 16 --pipeline.datamanager.eval-resolution 16 "
    "--pipeline.datamanager.eval-cameras 4 --pipeline.model.field.grid-resolutions 4 8 "
)


def train(command: str) -> None:
    """Run a command on the stub."""
    with mock.patch("bridge_nerf.priors.registry.load_prior", lambda *_, **__: StubPrior()):
        ns_train(command)


def render(run: Path) -> None:
    """Open a run as nerfstudio's commands do, and draw its turntable."""
    _, pipeline, *_ = eval_setup(run / "config.yml")
    frames = turntable.frames(pipeline.model, pipeline.datamanager.turntable(2), 16)
    assert frames.shape == (2, 16, 16, 3) and frames.std() > 0


def runs(out: Path) -> set[Path]:
    """The folders of all runs."""
    return set(out.glob("outputs/*/*/*"))


def last_state(run: Path) -> dict[str, Any] | None:
    """The newest checkpoint of a run; None where it has none."""
    folder = run / "nerfstudio_models"
    return dict(checkpoint.read(checkpoint.latest(folder))) if any(folder.glob("*.ckpt")) else None


def ended(command: str, moment: float, numbers: list[signal.Signals]) -> End | int:
    """The end of a command to which signals are sent after so many seconds; the signal's number where it had
    no handler for it, as before nerfstudio calls the method and after it has trained."""
    process, pipe = begin(partial(train, command))
    try:
        process.join(moment)
        for number in numbers:
            if process.exitcode is None:
                os.kill(process.pid, number)
                process.join(0.1)
        process.join(PATIENCE)
        assert process.exitcode is not None, "no end"
        return pipe.recv() if process.exitcode == 0 else -process.exitcode
    finally:
        process.kill()
        process.join()


def check(run: Path) -> str:
    """Fail where what a run left does not open or render; answers the command that goes on."""
    saved_config.read(run / "config.yml", all_methods["bridge-distill"])
    commands, state = noted(run), last_state(run)
    shown = {"view", "render", "export"}
    assert shown & commands.keys() == (shown if state is not None else set())
    (onward,) = {"start", "resume"} & commands.keys()
    if state is not None:
        assert onward == "resume" and f"--load-dir {run}/nerfstudio_models" in commands["resume"]
        assert end(partial(render, run)).code is None
    return commands[onward]


@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_that_is_told_to_end_again_and_again_ends_as_one_that_never_was(
    tmp_path: Path, times: int
) -> None:
    start = time.monotonic()
    assert end(partial(train, f"{COMMAND} --output-dir {tmp_path}/whole/outputs")).code is None
    seconds = time.monotonic() - start
    (run,) = runs(tmp_path / "whole")
    whole, draw, sent = last_state(run), random.Random(times), 0
    while sent < times:
        out, state = tmp_path / f"{sent}", None
        command = f"{COMMAND} --output-dir {out}/outputs"
        while state is None or state["step"] < STEPS - 1:
            before, numbers = runs(out), []
            if sent < times:
                numbers = [SIGNALS[sent % 3]] + [signal.SIGINT] * (draw.random() < 0.25)
            sent += 1
            stop = ended(command, draw.uniform(0.0, seconds), numbers)
            if isinstance(stop, End) and stop.code not in (None, 130):  # amid imports
                assert numbers[0] == signal.SIGINT and "KeyboardInterrupt" in stop.code
            check_whole(out)
            for run in runs(out) - before:
                if (run / "commands.txt").exists():
                    command, state = check(run), last_state(run) or state
                else:  # made, and ended before there was a handler
                    assert isinstance(stop, int) and not list(run.iterdir())
        assert same(state, whole)
