"""The benchmarks run where they are told to."""

import subprocess
import sys

import pytest
import torch

from benchmarks.card.items import ROOT


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
@pytest.mark.parametrize("program", ["nerf_step.py", "prior_step.py"])
def test_a_missing_card_is_said_in_one_line(program: str) -> None:
    pytest.importorskip("nerfstudio")
    command = [sys.executable, "-W", "ignore", str(ROOT / "benchmarks" / program), "--device", "cuda"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if line.startswith("error:")] == [done.stderr.strip()]


@pytest.mark.slow
def test_the_step_of_both_methods_is_measured_on_the_device() -> None:
    pytest.importorskip("nerfstudio")
    command = [sys.executable, "-W", "ignore", str(ROOT / "benchmarks/nerf_step.py"), "--device", "cpu"]
    done = subprocess.run([*command, "--rounds", "1", "--steps", "1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "bridge-distill on cpu" in done.stdout and "generfacto on cpu" in done.stdout
