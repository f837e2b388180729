"""Runs in folders: interrupted at any moment and resumed, they end as if they had never stopped."""

from __future__ import annotations

import csv
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import av
import lightning
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from bridge_nerf.errors import UserError
from bridge_nerf.evaluation.diagnostics import read_errors
from bridge_nerf.files import write_atomic
from bridge_nerf.images.generation import generate
from bridge_nerf.images.image_files import file_hash, note_in
from bridge_nerf.images.module import ImageModule
from bridge_nerf.images.run import frames, optimise_images
from bridge_nerf.images.spec import Spec
from bridge_nerf.pixels import to_bytes
from tests.clusters import CLUSTERS
from tests.images.conftest import SPEC, changed, several
from tests.nerf.stub import SIZE
from tests.waiting import PATIENCE


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    from tests.nerf.stub import StubPrior

    return optimise_images(SPEC, tmp_path_factory.mktemp("whole") / "run", StubPrior())


def trained(module: ImageModule, steps: int, path: Path) -> ImageModule:
    """The module after so many steps of Lightning's Trainer, which leaves its checkpoint at the path."""
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = lightning.Trainer(
        accelerator="cpu", max_steps=steps, max_epochs=-1, enable_checkpointing=False, **quiet
    )
    trainer.fit(module, itertools.repeat(0))
    trainer.save_checkpoint(path)
    return module


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_lightnings_trainer_and_the_plain_loop_end_in_the_same_image(prior, whole, tmp_path):
    module = trained(ImageModule(SPEC, prior), 12, tmp_path / "trainer.ckpt")
    assert np.array_equal(to_bytes(module.images())[0], pixels(whole.images[0]))
    *_, last = generate([SPEC], prior)
    states = [
        torch.load(p, weights_only=True) for p in (tmp_path / "trainer.ckpt", whole.folder / "last.ckpt")
    ]
    for state in (*states, *map(vars, last.checkpoints())):
        assert torch.equal(state["state_dict"]["canvas.values"], module.canvas.values)
        assert state["global_step"] == 12
    assert states[0].keys() > states[1].keys()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_run_that_lightnings_trainer_began_goes_on(prior, whole, tmp_path):
    stopped = optimise_images(SPEC, tmp_path / "run", prior, on_step=lambda p: p.done < 5)
    (stopped.folder / "last.ckpt").unlink()
    trained(ImageModule(SPEC, prior), 5, stopped.folder / "last.ckpt")
    resumed = optimise_images(SPEC, stopped.folder, prior)
    assert np.array_equal(pixels(resumed.images[0]), pixels(whole.images[0]))
    assert (resumed.folder / "metrics.csv").read_bytes() == (whole.folder / "metrics.csv").read_bytes()


def test_specifications_in_lock_step_are_as_each_alone(prior):
    specs = [SPEC, replace(SPEC, objective="sds")]
    *_, together = generate(specs, prior)
    for k, spec in enumerate(specs):
        *_, alone = generate([spec], prior)
        assert torch.equal(together.images()[k : k + 1], alone.images())
        assert together.metrics[k] == alone.metrics[0]


def test_progress_begins_before_the_first_step_and_with_a_checkpoint_after_it(prior):
    course = generate([SPEC], prior)
    first = next(course)
    assert (first.done, first.steps, first.metrics) == (0, 12, [{}])
    for progress in course:
        if progress.done == 7:
            break
    again = next(generate([SPEC], prior, checkpoints=progress.checkpoints()))
    assert again.done == 7 and torch.equal(again.images(), progress.images())


@pytest.mark.parametrize("stop", [1, 5, 11])
def test_a_stopped_run_goes_on_and_ends_alike(prior, whole, tmp_path, stop):
    stopped = optimise_images(SPEC, tmp_path / "run", prior, on_step=lambda p: p.done < stop, save_every=3)
    assert (stopped.done, stopped.finished) == (stop, False)
    assert stopped.images[0].exists() and (stopped.folder / "video.mp4").exists()
    resumed = optimise_images(SPEC, tmp_path / "run", prior)
    assert resumed.finished and np.array_equal(pixels(resumed.images[0]), pixels(whole.images[0]))
    for name in ("metrics.csv", "frames/000012.png", "video.mp4"):
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name


CHILD = """
    import sys
    from pathlib import Path
    from bridge_nerf.images.run import optimise_images
    from tests.images.conftest import SPEC, changed
    from tests.nerf.stub import StubPrior

    def stand_still(progress):
        if progress.done == 5:
            print("there", flush=True)
            sys.stdin.readline()

    result = optimise_images(SPEC, Path(sys.argv[1]), StubPrior(), on_step=stand_still, save_every=2)
    print("left", result.done, result.finished, flush=True)
"""


@pytest.mark.parametrize("blow", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_and_ends_alike(prior, whole, tmp_path, blow):
    code = textwrap.dedent(CHILD)
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "there\n"
    child.send_signal(blow)
    rest, _ = child.communicate(timeout=PATIENCE)  # which also lets it go on
    assert rest == ("left 5 False\n" if blow == signal.SIGINT else "")
    resumed = optimise_images(SPEC, tmp_path / "run", prior)
    assert np.array_equal(pixels(resumed.images[0]), pixels(whole.images[0]))
    assert (resumed.folder / "metrics.csv").read_bytes() == (whole.folder / "metrics.csv").read_bytes()


def not_again(progress) -> None:
    pytest.fail("made again")


def test_a_run_without_its_video_is_finished_and_gets_it_next_time(
    prior, whole, tmp_path, monkeypatch, capsys
):
    def die(*_) -> None:
        raise RuntimeError("no codec")

    with monkeypatch.context() as patched:
        patched.setattr("bridge_nerf.images.run.video", die)
        for on_step in (None, not_again):
            result = optimise_images(SPEC, tmp_path / "run", prior, on_step)
            assert result.finished and np.array_equal(pixels(result.images[0]), pixels(whole.images[0]))
            said = capsys.readouterr().err
            assert said.count("\n") == 1 and "video.mp4 could not be made" in said and "no codec" in said
    optimise_images(SPEC, tmp_path / "run", prior, not_again)
    assert (result.folder / "video.mp4").read_bytes() == (whole.folder / "video.mp4").read_bytes()


def test_a_run_killed_before_its_video_does_not_keep_an_older_one(prior, whole, tmp_path, monkeypatch):
    def kill(*_) -> None:
        raise KeyboardInterrupt

    optimise_images(SPEC, tmp_path / "run", prior, on_step=lambda p: p.done < 5)
    assert (tmp_path / "run" / "video.mp4").exists()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("bridge_nerf.images.run.video", kill)
        optimise_images(SPEC, tmp_path / "run", prior)
    resumed = optimise_images(SPEC, tmp_path / "run", prior, not_again)
    assert resumed.finished and np.array_equal(pixels(resumed.images[0]), pixels(whole.images[0]))
    assert (resumed.folder / "video.mp4").read_bytes() == (whole.folder / "video.mp4").read_bytes()


def test_before_and_after_a_painting(prior, tmp_path, capsys):
    source = tmp_path / "painting.png"
    Image.new("RGB", (16, 16), (200, 30, 20)).save(source)
    spec = replace(SPEC, task="paint", source=source.name, source_hash=file_hash(source))
    result = optimise_images(spec, tmp_path / "run", prior, source=source)
    pairs = result.folder / "before-after.png"
    seen = pixels(pairs)
    assert seen.shape == (16, 36, 3) and (seen[:, :16] == (200, 30, 20)).all()
    assert np.array_equal(seen[:, 20:], pixels(result.images[0]))
    pairs.unlink()
    optimise_images(spec, tmp_path / "run", prior, not_again, source=source)
    assert np.array_equal(pixels(pairs), seen)
    pairs.unlink()
    source.unlink()
    capsys.readouterr()
    assert optimise_images(spec, tmp_path / "run", prior, not_again, source=source) == result
    assert f"{pairs} could not be made" in capsys.readouterr().err


def test_frames_and_numbers_that_cannot_be_written_cost_no_run(prior, whole, tmp_path, monkeypatch, capsys):
    def write(path, data, **options) -> None:
        if path.parent.name == "frames" or path.name == "metrics.csv":
            raise OSError(28, "No space left on device", str(path))
        write_atomic(path, data, **options)

    monkeypatch.setattr("bridge_nerf.files.write_atomic", write)
    result = optimise_images(SPEC, tmp_path / "run", prior)
    assert result.finished and np.array_equal(pixels(result.images[0]), pixels(whole.images[0]))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 13 + 12 + 1 and "000000.png could not be made" in said[0]
    assert "video.mp4 could not be made" in said[-1] and "there are no frames" in said[-1]


@pytest.mark.parametrize(
    "number, size, frame", [(300, (16, 16), (236, 496, 3)), (1, (4, 8192), (2, 4096, 3))]
)
def test_frames_fit_into_a_film(prior, tmp_path, capsys, monkeypatch, number, size, frame):
    """In one row, and enlarged, each of these is wider than H.264 can be."""
    monkeypatch.setattr("bridge_nerf.priors.image_sizes.LARGEST", 1000)
    prior.encode = lambda images: F.interpolate(images, (SIZE, SIZE))
    spec = replace(several(range(number)), config=changed(SPEC.config, steps=1, canvas="pixels"), size=size)
    result = optimise_images(spec, tmp_path / "run", prior)
    assert result.finished and len(result.images) == number
    assert pixels(result.images[0]).shape == (*size, 3)
    assert pixels(frames(result.folder)[-1]).shape == frame
    with av.open(str(result.folder / "video.mp4")) as film:
        assert len(list(film.decode(video=0))) == 2
    assert not capsys.readouterr().err


def test_frames_are_there_before_a_checkpoint_and_when_an_error_ends_the_run(prior, tmp_path, monkeypatch):
    """Also where writing takes longer than steps."""
    folder, replaced, seen = tmp_path / "run", os.replace, []

    def slowly(path, data) -> None:
        time.sleep(0.02)
        write_atomic(path, data)

    def replace_file(before, after) -> None:
        if after == folder / "last.ckpt":
            seen.append(len(frames(folder)))
        replaced(before, after)

    def fail(progress) -> None:
        if progress.done == 8:
            raise RuntimeError("enough")

    monkeypatch.setattr("bridge_nerf.files.write_atomic", slowly)
    monkeypatch.setattr("os.replace", replace_file)
    with pytest.raises(RuntimeError, match="enough"):
        optimise_images(SPEC, folder, prior, fail, save_every=3)
    assert seen == [1 + 3, 1 + 6]
    assert len(frames(folder)) == 1 + 8
    assert len((folder / "metrics.csv").read_text().splitlines()) == 1 + 8


def test_a_frame_that_is_not_finite_ends_the_run(prior, tmp_path):
    decode, asked = prior.decode, itertools.count()
    prior.decode = lambda latents: decode(latents) * (float("nan") if next(asked) == 4 else 1)
    with pytest.raises(UserError, match="after 4 steps: 1 of 1 images hold numbers that are not finite"):
        optimise_images(SPEC, tmp_path / "run", prior)
    assert len(frames(tmp_path / "run")) == 4


def test_a_finished_run_is_not_made_again(prior, whole):
    before = time.time_ns()
    again = optimise_images(SPEC, whole.folder, prior, on_step=lambda p: pytest.fail("made again"))
    assert again == whole
    assert all(path.stat().st_mtime_ns < before for path in whole.folder.iterdir())


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_a_run_needs_no_cluster(prior, whole, tmp_path, monkeypatch, cluster):
    for name, value in CLUSTERS[cluster].items():
        monkeypatch.setenv(name, value)
    run = optimise_images(SPEC, tmp_path / "run", prior)
    assert np.array_equal(pixels(run.images[0]), pixels(whole.images[0]))


def test_another_run_or_foreign_files_are_left_alone(prior, whole, tmp_path):
    with pytest.raises(UserError, match="holds another run"):
        optimise_images(several(range(9, 10)), whole.folder, prior)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="holds something else"):
        optimise_images(SPEC, tmp_path, prior)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_the_folder_says_everything(whole):
    note = note_in(whole.images[0])
    assert Spec.from_json(__import__("json").dumps(note["spec"])) == SPEC
    assert (note["prompt"], note["seed"], note["index"], note["done"]) == ("a ball", 3, 0, 12)
    assert note["versions"]["torch"] == torch.__version__.split("+")[0] and "bridge-nerf" in note["command"]
    with (whole.folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(12))
    assert [row["stage"] for row in rows] == ["1"] * 6 + ["2"] * 6
    assert all(0 <= float(row["saturation"]) <= 1 for row in rows)
    with av.open(str(whole.folder / "video.mp4")) as film:
        shown = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(shown) == len(frames(whole.folder)) == 13
    last = pixels(whole.images[0]).repeat(16, 0).repeat(16, 1)
    assert np.abs(shown[-1].astype(int) - last).mean() < 6


def test_the_errors_of_the_bridge_are_logged_and_change_nothing(prior, whole, tmp_path):
    spec = replace(SPEC, config=changed(SPEC.config, errors_every=5))
    stopped = optimise_images(spec, tmp_path / "run", prior, on_step=lambda p: p.done < 7, save_every=3)
    resumed = optimise_images(spec, stopped.folder, prior)
    assert np.array_equal(pixels(resumed.images[0]), pixels(whole.images[0]))
    series = read_errors(resumed.folder)
    assert series.keys() == {"first_order_null", "mismatch_null", "first_order_source", "mismatch_source"}
    assert [step for step, _ in series["mismatch_source"]] == [0, 5, 10]


def test_errors_have_rows_between_the_frames(prior, tmp_path, monkeypatch):
    monkeypatch.setattr("bridge_nerf.images.generation.FRAMES", 3)
    spec = replace(SPEC, config=changed(SPEC.config, errors_every=5))
    result = optimise_images(spec, tmp_path / "run", prior)
    with (result.folder / "metrics.csv").open(newline="") as file:
        rows = {int(row["step"]): row for row in csv.DictReader(file)}
    assert list(rows) == [0, 3, 5, 7, 10, 11] and len(frames(result.folder)) == 4
    assert rows[5]["mismatch_null"] and not rows[5]["saturation"]
    assert rows[3]["saturation"] and not rows[3]["mismatch_null"]


def test_checkpoints_hold_the_canvas_and_no_prior(whole):
    checkpoint = torch.load(whole.folder / "last.ckpt", weights_only=True)
    assert list(checkpoint["state_dict"]) == ["canvas.values"]
    assert (whole.folder / "last.ckpt").stat().st_size < 30_000


def test_images_of_one_batch_lie_side_by_side(prior, tmp_path):
    result = optimise_images(replace(several(range(3, 5)), size=(16, 16)), tmp_path / "run", prior)
    assert [path.name for path in result.images] == ["picture-s3.png", "picture-s4.png"]
    assert pixels(frames(result.folder)[-1]).shape == (16, 36, 3)


@pytest.fixture
def stopped(prior, tmp_path):
    """The folder of a run that was stopped after seven steps."""
    return optimise_images(SPEC, tmp_path / "run", prior, on_step=lambda p: p.done < 7).folder


ODD_CHECKPOINTS = {
    "empty": b"",
    "text": b"no checkpoint",
    "zeros": bytes(4096),
}


@pytest.mark.parametrize("data", ODD_CHECKPOINTS.values(), ids=ODD_CHECKPOINTS)
def test_a_torn_checkpoint_is_one_line(prior, stopped, data):
    (stopped / "last.ckpt").write_bytes(data)
    with pytest.raises(UserError, match=r"last\.ckpt is torn .*; remove it, and the run begins anew"):
        optimise_images(SPEC, stopped, prior)


@pytest.mark.parametrize(
    "changes",
    [
        {"global_step": "7"},
        {"global_step": 7.0},
        {"global_step": -1},
        {"global_step": 13},
        {"global_step": None},
        {"state_dict": []},
        {"state_dict": {}},
        {"state_dict": {"canvas.values": torch.zeros(1, 4, 3, 3)}},
        {"state_dict": {"canvas.values": 3}},
        {"optimizer_states": []},
        {"optimizer_states": [{}]},
        {"optimizer_states": [{"state": {}, "param_groups": []}]},
        {"lr_schedulers": [{"last_epoch": "x"}]},
        {"lr_schedulers": {}},
    ],
    ids=str,
)
def test_a_checkpoint_of_something_else_is_one_line(prior, stopped, changes):
    path = stopped / "last.ckpt"
    torch.save(torch.load(path, weights_only=True) | changes, path)
    with pytest.raises(UserError, match=r"last\.ckpt .*; remove it, and the run begins anew") as caught:
        optimise_images(SPEC, stopped, prior)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["step,a\n1,2\n", "a\n1\n", "step\nx\n", "step\n1\n", "\0"])
def test_another_log_is_one_line(prior, stopped, text):
    (stopped / "metrics.csv").write_text(text)
    with pytest.raises(UserError, match=r"metrics\.csv"):
        optimise_images(SPEC, stopped, prior)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "\udcff", "null", '{"spec": {}, "done": 7, "versions": {}}']
)
def test_another_note_is_one_line(prior, stopped, text):
    (stopped / "run.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"run\.json.*"):
        optimise_images(SPEC, stopped, prior)


def test_an_image_that_was_deleted_is_there_again(prior, tmp_path):
    made = optimise_images(SPEC, tmp_path / "run", prior)
    before = pixels(made.images[0])
    made.images[0].unlink()
    again = optimise_images(SPEC, tmp_path / "run", prior, on_step=lambda p: pytest.fail("made again"))
    assert again.finished and np.array_equal(pixels(again.images[0]), before)


def test_what_a_killed_process_had_not_finished_is_swept(prior, stopped):
    left = [stopped / f".last.ckpt.{pid}.unfinished" for pid in (2**30, os.getppid())]
    (frame := stopped / "frames" / f".000001.png.{2**30}.unfinished").touch()
    for path in left:
        path.touch()
    optimise_images(SPEC, stopped, prior)
    assert [path.exists() for path in (*left, frame)] == [False, True, False]
    left[0].touch()
    assert optimise_images(SPEC, stopped, prior).finished and not left[0].exists()
