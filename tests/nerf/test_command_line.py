"""`ns-train` as a user runs it, in processes of its own."""

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from bridge_nerf.nerf.engine import checkpoint
from bridge_nerf.toybox.words import vocabulary
from tests.nerf.conftest import noted
from tests.nerf.engine.test_trainer import same
from tests.priors.tiny import build_tiny_pipeline
from tests.waiting import PATIENCE

SMALL = (
    "--vis tensorboard --machine.device-type cpu --steps-per-save 4 --turntable-frames 4 "
    "--pipeline.datamanager.train-resolution 16 --pipeline.datamanager.eval-resolution 16 "
    "--pipeline.datamanager.eval-cameras 4 --pipeline.model.field.grid-resolutions 4 8 "
    "--pipeline.stage-start 10"
)
COMMAND = f"ns-train bridge-distill --prompt 'a pineapple' {SMALL}"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_pipeline(tmp_path_factory.mktemp("tiny"), "v_prediction", vocabulary(), image_size=16)


def start(command: str, folder: Path) -> subprocess.Popen:
    program, *arguments = shlex.split(command)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "COLUMNS": "500"}
    return subprocess.Popen(
        [str(Path(sys.executable).with_name(program)), *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(command: str, folder: Path) -> tuple[int, str]:
    process = start(command, folder)
    said, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, said


def final(folder: Path) -> dict:
    runs = sorted(folder.glob("outputs/a-pineapple/bridge-distill/*/nerfstudio_models"))
    return checkpoint.read(checkpoint.latest(runs[-1]))


@pytest.mark.slow
def test_an_unknown_word_ends_in_one_line(tiny: Path, tmp_path: Path) -> None:
    code, said = run(
        f'ns-train bridge-distill --prompt "a pinaple" --pipeline.prior {tiny} {SMALL}', tmp_path
    )
    assert code == 1, said
    assert "Traceback" not in said
    assert said.strip().splitlines()[-1].startswith('error: unknown word "pinaple"')


def test_from_a_prompt_to_a_video(tiny: Path, tmp_path: Path) -> None:
    code, said = run(f"{COMMAND} --pipeline.prior {tiny} --max-num-iterations 3", tmp_path)
    assert code == 0, said
    assert "Traceback" not in said
    assert f"prior: the folder {tiny}" in said
    (folder,) = tmp_path.glob("outputs/a-pineapple/bridge-distill/*")
    assert {"turntable.mp4", "turntable.png", "config.yml", "commands.txt"} <= {
        p.name for p in folder.iterdir()
    }


@pytest.mark.slow
def test_every_noted_command_works_from_any_folder(tiny: Path, tmp_path: Path) -> None:
    (here := tmp_path / "he re").mkdir()
    (elsewhere := tmp_path / "elsewhere").mkdir()
    shutil.copytree(tiny, here / "prior")
    assert (
        run(f"{COMMAND} --pipeline.prior prior --output-dir my/outputs --max-num-iterations 3", here)[0] == 0
    )
    (folder,) = here.glob("my/outputs/*/*/*")
    commands = noted(folder)
    assert commands.keys() == {"view", "resume", "render", "export"}
    code, said = run(commands["resume"], elsewhere)
    assert code == 0, said
    (second,) = (path for path in here.glob("my/outputs/*/*/*") if path != folder)
    assert checkpoint.latest(second / "nerfstudio_models").name == "step-000000005.ckpt"
    for name, file in (("render", "turntable-rgb.mp4"), ("export", "mesh.glb")):
        code, said = run(commands[name], elsewhere)
        assert code == 0 and str(folder / file) in said, said
        assert (folder / file).stat().st_size > 1000
    assert not list(elsewhere.iterdir())
    viewer = start(commands["view"] + " --viewer.websocket-port-default 7321", elsewhere)
    try:
        assert viewer.stdout is not None
        assert any("7321" in line for line in viewer.stdout)
        assert viewer.poll() is None
    finally:
        viewer.kill()
        viewer.communicate()


def kill_after(process: subprocess.Popen, folder: Path, step: int, delay: float) -> bool:
    """SIGKILL soon after that step's checkpoint or a later one is there; False if the process ends before."""
    while process.poll() is None:
        saved = [int(path.stem[5:]) for path in folder.rglob("step-*.ckpt")]
        if max(saved, default=-1) >= step:
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            return process.wait() == -signal.SIGKILL
        time.sleep(0.005)
    return False


@pytest.mark.slow
def test_sigkill_at_random_steps_changes_nothing(tiny: Path, tmp_path: Path) -> None:
    command = f"{COMMAND} --pipeline.prior {tiny} --max-num-iterations 200"
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    assert run(command, whole)[0] == 0
    draw = random.Random(0)
    for step in sorted(draw.sample(range(4, 100), 3)):
        process = start(command, killed)
        assert kill_after(process, killed, step, draw.uniform(0, 0.3))
        command = noted(sorted(killed.glob("outputs/a-pineapple/bridge-distill/*"))[-1])["resume"]
        assert "--load-step" in command
    code, said = run(command, killed)
    assert code == 0, said
    one, other = final(whole), final(killed)
    assert (one["step"], other["step"]) == (199, 199)
    assert same(one, other)
    assert all(torch.isfinite(value).all() for value in one["pipeline"].values())
