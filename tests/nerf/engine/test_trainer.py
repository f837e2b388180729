"""Whole runs through nerfstudio's trainer: results and resuming."""

import csv
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from bridge_nerf.nerf.engine import checkpoint, turntable
from bridge_nerf.nerf.engine.trainer import BridgeTrainer, BridgeTrainerConfig
from tests.nerf.stub import StubPrior
from tests.priors.tiny import build_tiny_pipeline

Train = Callable[[BridgeTrainerConfig, str], BridgeTrainer]


def state(trainer: BridgeTrainer) -> dict:
    return checkpoint.read(checkpoint.latest(trainer.checkpoint_dir))


def same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(same(v, other[k]) for k, v in one.items())
        )
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_a_run_leaves_its_results(config: BridgeTrainerConfig, trained: Train, capsys) -> None:
    import av

    trainer = trained(config, "run")
    folder = config.get_base_dir()
    assert folder.parts[-3:] == ("a-pineapple", "bridge-distill", "run")
    assert [p.name for p in trainer.checkpoint_dir.iterdir()] == ["step-000000005.ckpt"]
    with av.open(str(folder / "turntable.mp4")) as video:
        assert len(list(video.decode(video=0))) == 4
    assert Image.open(folder / "turntable.png").size == (4 * 16, 16)
    said = capsys.readouterr().out
    assert "prior: " in said
    assert "ns-viewer --load-config" in said
    assert "--load-dir" in said
    assert "100%" in said and "0 min 00 s left" in said
    assert not list(folder.rglob("*.unfinished"))


@pytest.mark.parametrize("lost", ["turntable.mp4", "turntable.png", "both"])
def test_a_run_without_its_turntable_is_whole(
    config: BridgeTrainerConfig, trained: Train, monkeypatch: pytest.MonkeyPatch, capsys, lost: str
) -> None:
    def fail(*_) -> None:
        raise RuntimeError("no\ncodec")

    places = {
        "turntable.mp4": "bridge_nerf.nerf.engine.turntable.video",
        "turntable.png": "bridge_nerf.nerf.engine.turntable.contact_sheet",
        "both": "bridge_nerf.nerf.engine.turntable.frames",
    }
    (folder := config.get_base_dir().with_name("run")).mkdir(parents=True)
    for name in ("turntable.mp4", "turntable.png"):
        (folder / name).write_bytes(b"of an earlier run")
    monkeypatch.setattr(places[lost], fail)
    trainer = trained(config, "run")
    assert trainer.base_dir == folder
    missing = {"turntable.mp4", "turntable.png"} if lost == "both" else {lost}
    assert not any((folder / name).exists() for name in missing)
    assert checkpoint.latest(trainer.checkpoint_dir).name == "step-000000005.ckpt"
    said = capsys.readouterr()
    assert "--load-dir" in (folder / "commands.txt").read_text() and "--load-dir" in said.out
    (line,) = [line for line in said.err.splitlines() if "could not be made" in line]
    assert line.endswith("no codec") and not any(str(folder / name) in said.out for name in missing)


def test_no_viewer_draws_during_the_turntable(
    config: BridgeTrainerConfig, trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trained(config, "run")
    held, original = [], turntable.frames

    def frames(*given):
        held.append(trainer.train_lock.locked())
        return original(*given)

    monkeypatch.setattr(turntable, "frames", frames)
    trainer._results(trainer.step)
    assert held == [True] and not trainer.train_lock.locked()


def test_a_resumed_run_keeps_the_precision_of_its_prior(
    config: BridgeTrainerConfig, trained: Train, tmp_path: Path
) -> None:
    config.pipeline.prior.name = str(build_tiny_pipeline(tmp_path / "prior"))
    trainer = trained(config, "run")
    assert "--pipeline.prior.dtype float32" in (trainer.base_dir / "commands.txt").read_text()
    again = yaml.load((trainer.base_dir / "config.yml").read_text(), Loader=yaml.Loader)
    assert again.pipeline.prior.dtype == "float32"


def test_the_prior_is_in_no_checkpoint(config: BridgeTrainerConfig, trained: Train) -> None:
    names = state(trained(config, "run"))["pipeline"]
    parts = ("_model.field", "_model.device_indicator", "_model.occupied")
    assert all(name.startswith(parts) for name in names)


@pytest.mark.parametrize("stop", [1, 3, 4])
def test_resuming_is_never_having_stopped(config: BridgeTrainerConfig, trained: Train, stop: int) -> None:
    whole = state(trained(deepcopy(config), "whole"))
    first = deepcopy(config)
    first.max_num_iterations = stop
    stopped = trained(first, "first")
    second = deepcopy(config)
    second.load_dir, second.max_num_iterations = stopped.checkpoint_dir, 6 - stop
    resumed = trained(second, "second")
    assert same(state(resumed), whole)
    assert resumed.pipeline.model.step == 5
    assert resumed.pipeline.distiller.active(5).index == 1
    other = deepcopy(config)
    other.machine.seed += 1
    assert not same(state(trained(other, "other")), whole)


def test_a_checkpoint_of_an_earlier_version_knows_no_empty_cells(
    config: BridgeTrainerConfig, trained: Train
) -> None:
    stopped = trained(deepcopy(config), "first")
    path = stopped.checkpoint_dir / "step-000000005.ckpt"
    saved = state(stopped)
    assert not saved["pipeline"].pop("_model.occupied").all()
    checkpoint.save(path, saved)
    second = deepcopy(config)
    second.load_dir, second.max_num_iterations = stopped.checkpoint_dir, 2
    assert trained(second, "second").pipeline.model.occupied.all()


def test_measured_errors_go_along_with_a_resumed_run(config: BridgeTrainerConfig, trained: Train) -> None:
    config.pipeline.guidance.errors_every = 1
    first = deepcopy(config)
    first.max_num_iterations = 4
    stopped = trained(first, "first")
    config.load_dir, config.load_step, config.max_num_iterations = stopped.checkpoint_dir, None, 2
    resumed = trained(config, "second")
    with (resumed.base_dir / "errors.csv").open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(range(6))


def test_a_reloaded_model_knows_its_step_and_needs_no_prior(
    config: BridgeTrainerConfig, trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nerfstudio.utils.eval_utils import eval_setup

    trained(config, "run")

    def forbidden(*_) -> None:
        raise AssertionError("a finished run asked for its prior")

    monkeypatch.setattr("bridge_nerf.priors.registry.load_prior", forbidden)
    _, pipeline, path, step = eval_setup(config.get_base_dir() / "config.yml")
    assert (path.name, step, pipeline.model.step) == ("step-000000005.ckpt", 5, 5)  # type: ignore[union-attr]
    assert isinstance(pipeline.datamanager.get_datapath(), Path)
    metrics = pipeline.get_average_eval_image_metrics(
        output_path=config.get_base_dir() / "eval", get_std=True
    )
    assert {"coverage", "fog", "saturation", "saturation_std"} <= metrics.keys()
    assert len(list((config.get_base_dir() / "eval").glob("eval_img_*.png"))) == 4, "each camera once"
    cameras = pipeline.datamanager.eval_dataset.cameras  # type: ignore[union-attr]
    assert torch.equal(cameras.camera_to_worlds[0], cameras.camera_to_worlds[-1]), "the circle is closed"


def test_a_run_that_is_continued_in_its_folder_is_configured_anew(
    config: BridgeTrainerConfig, trained: Train
) -> None:
    first = trained(deepcopy(config), "run")
    config.load_dir, config.machine.seed = first.checkpoint_dir, config.machine.seed + 1
    trained(config, "run")
    saved = yaml.load((first.base_dir / "config.yml").read_text(), Loader=yaml.Loader)
    assert saved.machine.seed == config.machine.seed


def test_the_command_that_is_printed_says_what_was_asked_and_no_more(
    config: BridgeTrainerConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    config.print_to_terminal()
    said = capsys.readouterr().out
    assert said.startswith("ns-train bridge-distill --prompt 'a pineapple'")
    assert "--max-num-iterations 6" in said and "None" not in said


def test_a_prior_that_has_moved_is_said_once(
    config: BridgeTrainerConfig, trained: Train, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(
        "bridge_nerf.priors.registry.load_prior", lambda name, *_, **__: loaded.append(name) or StubPrior()
    )
    monkeypatch.setattr("bridge_nerf.priors.registry._cached", lambda name: False)
    config.pipeline.prior.name, config.max_num_iterations = "runwayml/stable-diffusion-v1-5", 1
    trained(config, "run")
    assert loaded == ["stable-diffusion-v1-5/stable-diffusion-v1-5"]
    assert "has left the hub" in " ".join(capsys.readouterr().out.split())


def test_tensorboard_gets_images_and_numbers(config: BridgeTrainerConfig, trained: Train) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config.steps_per_eval_batch = 2
    trained(config, "run")
    events = EventAccumulator(str(config.get_base_dir()))
    events.Reload()
    tags = events.Tags()
    assert "Eval Images/img" in tags["images"]
    assert {"Eval Loss", "Eval Loss Dict/distillation"} <= set(tags["scalars"])
    assert {"Eval Images Metrics Dict (all images)/fog", "Train Metrics Dict/pull"} <= set(tags["scalars"])
