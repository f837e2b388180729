"""The command line: quick help, one-line errors."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bridge_nerf import cli
from bridge_nerf.cli.helpers import helpers
from bridge_nerf.devices import check_processes
from bridge_nerf.errors import Stopped, UserError
from bridge_nerf.extras import PARTS
from bridge_nerf.images.image_files import note_in
from bridge_nerf.interrupts import ended_as_by_ctrl_c
from tests.images.test_image_files import bad_files
from tests.waiting import PATIENCE


@pytest.mark.parametrize(
    "command, words",
    [
        ((), "evaluate-toybox"),
        (("image",), "--guidance-scale"),
        (("evaluate", "toybox"), "--objectives"),
        (("plot-errors",), "errors.svg"),
    ],
)
def test_help_answers_at_once(command, words):
    """Nothing is imported that takes its time: of all packages only the one that reads command lines."""
    code = """
import sys
from bridge_nerf import cli
sys.argv = ["bridge-nerf", *sys.argv[1:], "--help"]
try:
    cli.main()
except SystemExit:
    print("LOADED", *sys.modules)
"""
    answer = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
    said, loaded = answer.stdout.split("LOADED")
    assert words in said
    assert {name.split(".")[0] for name in loaded.split()} & {*" ".join(PARTS.values()).split()} == {"tyro"}


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["sample", "a zeppelin"], "zeppelin"),
        (["sample", "a duck", "--count", "0"], "--count 0 makes no sense"),
        (["sample", "a duck", "--prior", "/nowhere/at/all"], "/nowhere/at/all"),
        (["train-toybox", "--devices", "0"], "--devices 0 makes no sense; give a number from 1 to 1024"),
        (["train-toybox", "--devices", "1000"], "--devices 1000 is more than there are"),
        (["train-toybox", "--workers", "1000"], "--workers 1000 is more than there are"),
        (["train-toybox", "--seed", str(2**32)], f"--seed {2**32} makes no sense"),
        (["evaluate-toybox", "--what", "judge", "--judge", "/nowhere"], "no judge"),
    ],
)
def test_bad_input_is_one_line_without_a_traceback(arguments, words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bridge-nerf", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    message = str(stop.value)
    assert words in message and "\n" not in message


@pytest.fixture
def stub(monkeypatch):
    """A prior that needs no loading."""
    from tests.nerf.stub import StubPrior

    prior = StubPrior()

    def load(config, device=None):
        prior.asked.append(config.dtype)
        return "stub", prior

    monkeypatch.setattr("bridge_nerf.guidance.config.PriorConfig.load", load)
    monkeypatch.setattr("bridge_nerf.images.reproduce.is_here", lambda name: True)
    return prior


def called(monkeypatch, *arguments) -> str | None:
    """What the command line answers to an error; None where all is well."""
    monkeypatch.setattr(sys, "argv", ["bridge-nerf", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as stop:
        return str(stop.code)
    return None


QUICK = ("--steps", 6, "--objective", "sds")


def images(folder: Path) -> list[Path]:
    return sorted(folder.rglob("picture*.png"))


def test_image_makes_images_that_can_be_reproduced(stub, monkeypatch, capsys, tmp_path):
    asked = ("image", "--prompt", "a ball", "--count", 2, *QUICK)
    assert called(monkeypatch, *asked, "--out", tmp_path / "a") is None
    assert called(monkeypatch, *asked, "--out", tmp_path / "b") is None
    first, second = images(tmp_path / "a"), images(tmp_path / "b")
    assert len(first) == 2 and "picture-s1.png" in capsys.readouterr().out
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(Image.open(one), Image.open(other))
    assert called(monkeypatch, "reproduce", first[1], "--out", tmp_path / "c") is None
    assert "identical" in capsys.readouterr().out


def test_image_sees_changed_weights(stub, monkeypatch, capsys, tmp_path):
    called(monkeypatch, "image", "--prompt", "a ball", *QUICK, "--out", tmp_path / "a")
    stub.schedule = type(stub.schedule).scaled_linear(beta_end=0.02)
    stub.fingerprint = "a ball elsewhere"
    called(monkeypatch, "reproduce", images(tmp_path / "a")[0], "--out", tmp_path / "b")
    assert "stub has other weights now" in capsys.readouterr().out


def test_an_image_is_reproduced_in_its_own_precision(stub, monkeypatch, tmp_path):
    asked = ("image", "--prompt", "a ball", *QUICK, "--out", tmp_path / "a")
    called(monkeypatch, *asked, "--prior.dtype", "float16")
    assert "float16" in stub.asked, "the flag reaches the loader"
    stub.dtype = torch.bfloat16
    called(monkeypatch, *asked)
    assert len(list((tmp_path / "a").iterdir())) == 2, "another precision is another run"
    stub.asked.clear()
    for path in images(tmp_path / "a"):
        called(monkeypatch, "reproduce", path, "--out", tmp_path / "b")
    assert sorted(word for word in stub.asked if word in ("auto", "float32", "bfloat16")) == [
        "bfloat16",
        "float32",
    ]


def test_it_is_said_how_long_many_samples_take(stub, monkeypatch, capsys, tmp_path):
    asked = ("sample", "a ball", "--count", 2, "--steps", 3, "--out", tmp_path / "a.png")
    assert called(monkeypatch, *asked) is None
    assert "this takes about" not in capsys.readouterr().out
    monkeypatch.setattr("bridge_nerf.evaluation.report.MANY", 5)
    assert called(monkeypatch, *asked) is None
    assert "this takes about 1 min" in capsys.readouterr().out
    assert Image.open(tmp_path / "a.png").size == (32, 16)


def test_paint_begins_with_the_image(stub, monkeypatch, tmp_path):
    source = tmp_path / "painting.jpg"
    Image.new("CMYK", (30, 30), (0, 200, 200, 40)).save(source)
    asked = (
        "paint",
        "--input",
        source,
        "--prompt",
        "a ball",
        "--out",
        tmp_path / "out",
        "--learning-rate",
        0,
    )
    assert called(monkeypatch, *asked, *QUICK) is None
    (result,) = images(tmp_path / "out")
    made = np.asarray(Image.open(result)).astype(int)
    assert made.shape == (16, 16, 3)
    assert np.abs(made - np.asarray(Image.open(source).convert("RGB"))[0, 0]).max() < 6
    assert Image.open(result.with_name("before-after.png")).width == 2 * 16 + 4


def test_the_errors_of_a_run_are_plotted(stub, monkeypatch, capsys, tmp_path):
    asked = ("image", "--prompt", "a ball", *QUICK, "--errors-every", 2, "--out", tmp_path)
    assert called(monkeypatch, *asked) is None
    (run,) = tmp_path.iterdir()
    assert called(monkeypatch, "plot-errors", run) is None
    assert "first_order" in capsys.readouterr().out and (run / "errors.svg").exists()
    assert "neither errors.csv" in (called(monkeypatch, "plot-errors", tmp_path) or "")
    log, before = run / "metrics.csv", (run / "metrics.csv").read_bytes()
    assert "is the log itself" in (called(monkeypatch, "plot-errors", log, "--out", log) or "")
    assert "end it in .svg" in (called(monkeypatch, "plot-errors", log, "--out", run / "run.json") or "")
    (run / "log.svg").symlink_to(log)
    assert "is the log itself" in (called(monkeypatch, "plot-errors", log, "--out", run / "log.svg") or "")
    os.mkfifo(pipe := tmp_path / "pipe.svg")
    assert "a device or a pipe" in (called(monkeypatch, "plot-errors", run, "--out", pipe) or "")
    assert pipe.is_fifo() and log.read_bytes() == before


def test_illusion_has_a_prompt_for_each_view(stub, monkeypatch, tmp_path):
    asked = ("illusion", "--prompt", "a ball", "--out", tmp_path, *QUICK)
    assert "--prompt twice" in (called(monkeypatch, *asked) or "")
    assert called(monkeypatch, *asked, "--prompt", "a ball, blurry", "--transform", "flip") is None
    assert note_in(images(tmp_path)[0])["prompt"] == "a ball | a ball, blurry"


def test_compare_and_batch_write_what_they_promise(stub, monkeypatch, tmp_path):
    asked = ("compare", "--prompt", "a ball", "--objectives", "sds,csd", "--steps", 6, "--out", tmp_path)
    assert called(monkeypatch, *asked) is None
    assert len(list(tmp_path.glob("*/video.mp4"))) == len(list(tmp_path.glob("*/grid.png"))) == 1
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a ball\na ball, sharp\n")
    assert called(monkeypatch, "batch", prompts, "--out", tmp_path / "batch", *QUICK) is None
    assert len((tmp_path / "batch" / "manifest.jsonl").read_text().splitlines()) == 2


@pytest.mark.slow
def test_more_workers_run_the_same_command_and_one_that_fails_takes_nobody_along(monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["bridge-nerf", "batch", "/nowhere.txt", "--devices", "3"])
    with helpers(2):
        pass
    assert capfd.readouterr().err.count("bridge-nerf: there is no file /nowhere.txt") == 2


def test_more_workers_end_with_the_one_that_started_them(monkeypatch, tmp_path):
    """In their place is a program that, without the signal, would wait for good."""
    waiting = tmp_path / "waiting"
    waiting.write_text("#!/bin/sh\nexec sleep 100000\n")
    waiting.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(waiting))
    with pytest.raises(KeyboardInterrupt), ended_as_by_ctrl_c(), helpers(1):
        os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Stopped), helpers(1):
        raise Stopped("as a batch is by a signal")


ENDS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_ends_a_run_after_its_step_and_the_same_command_goes_on(stub, monkeypatch, tmp_path, number):
    asked = ("image", "--prompt", "a ball", *QUICK, "--out")
    assert called(monkeypatch, *asked, tmp_path / "whole") is None
    eps, calls = stub.eps, []

    def told_to_end(*given):
        calls.append(given)
        if len(calls) == 3:
            signal.raise_signal(number)
        return eps(*given)

    monkeypatch.setattr(stub, "eps", told_to_end)
    said = called(monkeypatch, *asked, tmp_path / "ended") or ""
    assert said.startswith("bridge-nerf: stopped after step") and "the same command goes on" in said
    assert images(tmp_path / "ended") and 0 < len(calls) < 12
    assert called(monkeypatch, *asked, tmp_path / "ended") is None
    ((one,), (other,)) = images(tmp_path / "ended"), images(tmp_path / "whole")
    assert np.array_equal(Image.open(one), Image.open(other))
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_ends_a_batch_and_each_other_command_with_a_line(stub, monkeypatch, tmp_path, number):
    def told_to_end(*_):
        signal.raise_signal(number)

    monkeypatch.setattr(stub, "check_prompts", told_to_end)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a ball")
    for asked in (("sample", "a ball", "--out", tmp_path / "a.png"), ("batch", prompts, "--out", tmp_path)):
        assert called(monkeypatch, *asked) == (
            "bridge-nerf: interrupted; the same command goes on from what was saved"
        )


def test_a_second_signal_ends_a_run_at_once(stub, monkeypatch, tmp_path):
    def told_to_end(*_):
        for number in (signal.SIGHUP, signal.SIGTERM):
            signal.raise_signal(number)
        pytest.fail("the step went on")

    monkeypatch.setattr(stub, "eps", told_to_end)
    asked = ("image", "--prompt", "a ball", *QUICK, "--out", tmp_path)
    assert (called(monkeypatch, *asked) or "").startswith("bridge-nerf: interrupted")


def test_a_signal_that_is_ignored_stays_ignored(stub, monkeypatch, tmp_path):
    """As under nohup."""
    eps = stub.eps

    def hung_up(*given):
        signal.raise_signal(signal.SIGHUP)
        return eps(*given)

    monkeypatch.setattr(stub, "eps", hung_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert called(monkeypatch, "image", "--prompt", "a ball", *QUICK, "--out", tmp_path) is None
    finally:
        signal.signal(signal.SIGHUP, before)


def catches(process: int, number: int) -> bool:
    """True once a process has a handler of its own for the signal."""
    caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{process}/status").read_text())
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    "command",
    [
        ["image", "--prompt", "a duck", "--steps", "100000"],
        ["compare", "--prompt", "a duck", "--steps", "100000"],
        ["illusion", "--prompt", "a duck", "--prompt", "a car", "--steps", "100000"],
        ["batch", "prompts.txt", "--devices", "2"],
        ["sample", "a duck", "--count", "500", "--steps", "900", "--out", "a.png"],
        ["train-toybox", "--folder", "toybox"],
        ["evaluate-toybox", "--what", "objects", "--out", "figures"],
        ["evaluate", "toybox", "--out", "tables"],
    ],
    ids=lambda command: command[0],
)
def test_every_command_ends_by_a_signal_with_exit_code_1_and_a_line(tmp_path, command, number):
    (tmp_path / "prompts.txt").write_text("".join(f"a {word}\n" for word in ("duck", "mug", "car")))
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge_nerf.cli", *command], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + PATIENCE
    while not catches(process.pid, number):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.1)
    time.sleep(20)  # somewhere in the middle; what is asked does not depend on where
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1
    assert re.search(r"bridge-nerf: (stopped|interrupted).*the same command goes on", said), said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate"), "CUDA out of memory."),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "DefaultCPUAllocator: can't"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_too_little_memory_is_one_line(stub, monkeypatch, tmp_path, error, reason):
    def full(*_):
        raise error

    asked = ("image", "--prompt", "a ball", *QUICK, "--out", tmp_path)
    monkeypatch.setattr(stub, "decode", full)
    said = called(monkeypatch, *asked) or ""
    assert said.startswith(f"bridge-nerf: not enough memory ({reason}")
    assert (
        said.endswith("ask for a smaller --size or --resolution, or for fewer at once") and "\n" not in said
    )


SQUARE = "square.png"
BAD = [
    (["image", "--prompt", "a xylophone"], "xylophone"),
    (["image", "--prompt", " "], "prompt is empty"),
    (["image", "--prompt", "a ball", "--steps", "0"], "--steps 0 makes no sense; give a number from 1"),
    (["image", "--prompt", "a ball", "--count", "0"], "--count 0 makes no sense"),
    (["image", "--prompt", "a ball", "--objective", "magic"], "unknown objective 'magic'"),
    (["image", "--prompt", "a ball", "--objective", "dds"], "edits an image"),
    (
        ["image", "--prompt", "a ball", "--size", "-8"],
        "--size -8 makes no sense; give a number from 1 to 8192",
    ),
    (["image", "--prompt", "a ball", "--size", "0"], "--size 0 makes"),
    (["image", "--prompt", "a ball", "--size", "100000"], "--size 100000 makes"),
    (
        ["image", "--prompt", "a ball", "--count", "1000000"],
        "--count 1000000 makes no sense; give a number from 1 to 1024",
    ),
    (
        ["image", "--prompt", "a ball", "--guidance-scale", "nan"],
        "--guidance-scale nan makes no sense; give a number from -1000000 to 1000000",
    ),
    (["image", "--prompt", "a ball", "--times.stride", "0"], "--times.stride 0 makes no sense"),
    (["paint", "--input", "/nowhere.png", "--prompt", "a ball"], "there is no file /nowhere.png"),
    (["compare", "--prompt", "a ball", "--objectives", ","], "no objectives"),
    (["compare", "--prompt", "a ball", "--objectives", "sds,magic"], "unknown objective 'magic'"),
    (["batch", __file__, "--devices", "0"], "--devices 0 makes no sense"),
    (
        ["image", "--prompt", "a ball", "--seed", "-1"],
        "--seed -1 makes no sense; give a number from 0 to 4294967295",
    ),
    (["image", "--prompt", "a ball", "--seed", str(2**70)], f"--seed {2**70} makes no sense"),
    (["image", "--prompt", "a caf\udce9"], '--prompt "a caf\\udce9" holds bytes that are not UTF-8'),
    (["image", "--prompt", " ,."], "the prompt is empty"),
    (["image", "--prompt", "a ball", "--prior", "SDXL"], 'did you mean "sdxl"?'),
    (["illusion", "--prompt", "a ball", "--prompt", "a ball", "--objective", "dds"], '"dds" edits an image'),
    (["compare", "--prompt", "a ball", "--objectives", "sds,dds"], '"dds" edits an image'),
    (["batch", __file__, "--objective", "dds"], '"dds" edits an image'),
    (
        ["paint", "--input", SQUARE, "--prompt", "a ball", "--canvas", "network"],
        "cannot start from an image",
    ),
    (["evaluate", "toybox", "--objectives", "dds"], "dds edits an image and there is none"),
    (["evaluate", "toybox", "--seed", "-1"], "--seed -1 makes no sense"),
    (["evaluate", "toybox", "--count", "1"], "--count 1 makes no sense; give a number from 2 on"),
    (["evaluate", "toybox", "--batch", "0"], "--batch 0 makes no sense"),
    (["evaluate", "toybox", "--turned"], "no toy is named"),
    (["evaluate", "prior", "--prior", "toybx"], 'did you mean "toybox"?'),
    (["image", "--prompt", "a ball", "--steps", "9" * 20], "--steps 99999999999999999999 makes no sense"),
    (["image", "--prompt", "a ball", "--adapter-rank", "100000"], "--adapter-rank 100000 makes no sense"),
    (["image", "--prompt", "a ball", "--learning-rate", "1e300"], "--learning-rate 1e+300 makes no sense"),
    (["image", "--prompt", "a ball", "--prior.device", "meta"], "there is no device meta here"),
    (["image", "--prompt", "a ball", "--prior.device", ""], 'unknown device ""'),
    (["image", "--prompt", "a ball", "--prior.revision", "x"], 'revision "x" means nothing for "toybox"'),
    (["image", "--prompt", "a ball", "--prior.revision", ""], 'no revision of "auto" is named'),
    (
        ["sample", "a ball", "--count", "100000"],
        "--count 100000 makes no sense; give a number from 1 to 1024",
    ),
    (["sample", "a ball", "--steps", "1000000"], "--steps 1000000 makes no sense"),
    (["sample", "a ball", "--guidance-scale", "nan"], "--guidance-scale nan makes no sense"),
    (["evaluate", "prior", "--processes", "1000"], "--processes 1000 is more than there are"),
    (["batch", "/nowhere.txt"], "there is no file /nowhere.txt"),
    (["reproduce", "/nowhere.png"], "there is no file /nowhere.png"),
]


@pytest.mark.parametrize("arguments, words", BAD)
def test_impossible_requests_are_one_line_and_leave_nothing(stub, monkeypatch, tmp_path, arguments, words):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (9, 9)).save(SQUARE)
    answer = called(monkeypatch, *arguments, "--out", tmp_path / "out")
    assert answer is not None and words in answer and "\n" not in answer
    assert not (tmp_path / "out").exists()


KNOWN_FROM_THE_FLAGS = [
    ["image", "--prompt", " "],
    ["image", "--prompt", "a ball", "--objective", "dds"],
    ["image", "--prompt", "a ball", "--objective", "magic"],
    ["image", "--prompt", "a ball", "--count", "5000"],
    ["image", "--prompt", "a ball", "--canvas", "silk"],
    ["image", "--prompt", "a ball", "--decay-start", "nan"],
    ["illusion", "--prompt", "a ball", "--prompt", "a ball", "--objective", "dds"],
    ["compare", "--prompt", "a ball", "--objectives", "sds,dds"],
    ["compare", "--prompt", "a ball", "--objectives", "sds,magic"],
    ["batch", __file__, "--objective", "dds"],
    ["paint", "--input", SQUARE, "--prompt", "a ball", "--objective", "magic"],
    ["evaluate", "toybox", "--editors", "magic"],
    ["evaluate", "toybox", "--objectives", "dds"],
    ["evaluate", "toybox", "--steps", "0"],
]


@pytest.mark.parametrize("arguments", KNOWN_FROM_THE_FLAGS, ids=" ".join)
def test_what_the_flags_show_is_refused_before_a_prior_is_loaded(monkeypatch, tmp_path, arguments):
    loaded = []
    monkeypatch.setattr("bridge_nerf.guidance.config.PriorConfig.load", lambda *given: loaded.append(given))
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (9, 9)).save(SQUARE)
    answer = called(monkeypatch, *arguments)
    assert answer is not None and answer.startswith("bridge-nerf: ") and "\n" not in answer
    assert not loaded and [path.name for path in tmp_path.iterdir()] == [SQUARE]


def test_a_batch_says_what_is_too_long_before_it_makes_the_first(stub, monkeypatch, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a ball\n" + "ball " * 30)
    asked = ("batch", prompts, "--target-descriptors", "sharp " * 20, "--out", tmp_path / "out")
    assert "shorten it" in (called(monkeypatch, *asked, *QUICK) or "")
    assert not (tmp_path / "out").exists()


def test_a_batch_wants_as_many_gpus_as_processes(monkeypatch, tmp_path):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(UserError, match=r"--devices 3 is more than there are: give a number from 1 to 2"):
        check_processes(3)
    check_processes(2)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    check_processes(3)


@pytest.mark.parametrize("name", bad_files())
def test_a_bad_file_is_one_line_and_nothing_is_overwritten(stub, monkeypatch, tmp_path, name):
    data, words = bad_files()[name]
    (tmp_path / name).write_bytes(data)
    out = tmp_path / "out"
    assert called(monkeypatch, "image", "--prompt", "a ball", "--out", out, *QUICK) is None
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for asked in (
        ("paint", "--input", tmp_path / name, "--prompt", "a ball"),
        ("reproduce", tmp_path / name),
    ):
        answer = called(monkeypatch, *asked, "--out", out)
        assert answer is not None and re.search(words, answer) and "\n" not in answer
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
