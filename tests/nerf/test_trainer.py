"""Whole runs through nerfstudio's trainer: results, resuming, refusing."""

import csv
import os
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from bridge_nerf.nerf import checkpoint, turntable
from bridge_nerf.nerf.run_config import BridgeTrainerConfig
from bridge_nerf.nerf.trainer import BridgeTrainer
from tests.nerf.stub import PicturePrior

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
    assert Image.open(folder / "turntable.png").size == (6 * 16, 16)
    said = capsys.readouterr().out
    assert "(--pipeline.prior)" in said
    assert "ns-viewer --load-config" in said
    assert "--load-dir" in said
    assert "100%" in said and "0 min 00 s left" in said
    assert not list(folder.rglob("*.unfinished"))


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
    (folder := tmp_path / "prior").mkdir()
    config.pipeline.prior = str(folder)
    trainer = trained(config, "run")
    assert "--pipeline.prior-dtype float32" in (trainer.base_dir / "commands.txt").read_text()
    again = yaml.load((trainer.base_dir / "config.yml").read_text(), Loader=yaml.Loader)
    assert again.pipeline.prior_dtype == "float32"


def test_the_prior_is_in_no_checkpoint(config: BridgeTrainerConfig, trained: Train) -> None:
    names = state(trained(config, "run"))["pipeline"]
    assert all(name.startswith(("_model.field", "_model.device_indicator")) for name in names)


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
    assert resumed.pipeline._guidance is not None and resumed.pipeline._guidance.active(5).index == 1
    other = deepcopy(config)
    other.machine.seed += 1
    assert not same(state(trained(other, "other")), whole)


def test_measured_errors_go_along_with_a_resumed_run(config: BridgeTrainerConfig, trained: Train) -> None:
    config.pipeline.errors_every = 1
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

    monkeypatch.setattr("bridge_nerf.nerf.pipeline.load_prior", forbidden)
    _, pipeline, path, step = eval_setup(config.get_base_dir() / "config.yml")
    assert (path.name, step, pipeline.model.step) == ("step-000000005.ckpt", 5, 5)  # type: ignore[union-attr]
    assert isinstance(pipeline.datamanager.get_datapath(), Path)
    metrics = pipeline.get_average_eval_image_metrics(
        output_path=config.get_base_dir() / "eval", get_std=True
    )
    assert {"coverage", "fog", "saturation", "saturation_std"} <= metrics.keys()
    assert len(list((config.get_base_dir() / "eval").glob("eval_img_*.png"))) == 5
    cameras = pipeline.datamanager.eval_dataset.cameras  # type: ignore[union-attr]
    assert torch.equal(cameras.camera_to_worlds[0], cameras.camera_to_worlds[-1]), "the circle is closed"


def refused(config: BridgeTrainerConfig, trained: Train, timestamp: str = "refused") -> str:
    with pytest.raises(SystemExit) as caught:
        trained(config, timestamp)
    message = caught.value.code
    assert isinstance(message, str) and message.startswith("error: ") and "\n" not in message
    return message


@pytest.mark.parametrize("damage", ["torn", "foreign", "empty"])
def test_a_bad_checkpoint_is_refused_and_nothing_overwritten(
    config: BridgeTrainerConfig, trained: Train, damage: str
) -> None:
    trainer = trained(deepcopy(config), "run")
    path = checkpoint.latest(trainer.checkpoint_dir)
    if damage == "foreign":
        content = checkpoint.read(path)
        content["pipeline"] = {"somebody.elses": torch.zeros(3)}
        torch.save(content, path)
    else:
        path.write_bytes(path.read_bytes()[:1000] if damage == "torn" else b"")
    before = {p: p.read_bytes() for p in config.output_dir.rglob("*") if p.is_file()}
    again = deepcopy(config)
    again.load_dir = trainer.checkpoint_dir
    again.machine.seed += 1
    message = refused(again, trained, "run")
    assert ("another model" if damage == "foreign" else "torn") in message
    assert {p: p.read_bytes() for p in before} == before


def test_a_run_that_is_continued_in_its_folder_is_configured_anew(
    config: BridgeTrainerConfig, trained: Train
) -> None:
    first = trained(deepcopy(config), "run")
    config.load_dir, config.machine.seed = first.checkpoint_dir, config.machine.seed + 1
    trained(config, "run")
    saved = yaml.load((first.base_dir / "config.yml").read_text(), Loader=yaml.Loader)
    assert saved.machine.seed == config.machine.seed


def set_(config: BridgeTrainerConfig, path: str, value: object) -> None:
    *parents, name = path.split(".")
    target: object = config
    for parent in parents:
        target = getattr(target, parent)
    setattr(target, name, value)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("prompt", "", "prompt is empty"),
        ("pipeline.model.prompt", "  ", "prompt is empty"),
        ("pipeline.model.prompt", " ,.", "prompt is empty"),
        ("pipeline.model.prompt", "a xylophone", 'unknown word "xylophone"'),
        ("pipeline.model.prompt", "ball " * 50, "shorten"),
        ("max_num_iterations", 0, "--max-num-iterations 0"),
        ("max_num_iterations", -5, "--max-num-iterations -5"),
        ("pipeline.datamanager.eval_resolution", 17, "give 18"),
        ("pipeline.datamanager.orbit.fov_range", (0.0, 0.0), "--pipeline.datamanager.orbit.fov-range 0 0 "),
        (
            "pipeline.datamanager.orbit.elevation_range",
            (45.0, -10.0),
            "2 numbers in ascending order, from -90 to 90",
        ),
        ("pipeline.datamanager.orbit.distance_range", (3.0, float("nan")), "from 0 to 1000"),
        (
            "pipeline.datamanager.eval_distance",
            float("nan"),
            "eval-distance nan makes no sense; give a number",
        ),
        ("pipeline.datamanager.orbit.overhead_share", 1.2, "overhead-share 1.2"),
        ("pipeline.model.least_weight", -0.1, "--pipeline.model.least-weight -0.1"),
        ("pipeline.objective", "alchemy", "bridge"),
        ("pipeline.prior", "no-such-prior", "unknown prior"),
        ("pipeline.timestep_minimum", 0.99, "minimum"),
        ("pipeline.model.regularise_from", 500, "from step 500 to step 200"),
        ("data", Path("photos"), "--data"),
        ("load_dir", Path("nowhere"), "no checkpoint"),
    ],
)
def test_bad_input_ends_in_one_line(
    config: BridgeTrainerConfig, trained: Train, field: str, value: object, said: str
) -> None:
    set_(config, field, value)
    assert said in refused(config, trained)
    assert not list(config.output_dir.rglob("*.ckpt"))


def test_a_learning_rate_cannot_fall_backwards(config: BridgeTrainerConfig, trained: Train) -> None:
    config.optimizers["network"]["scheduler"].end = 10
    assert "from step 600 to step 10" in refused(config, trained)
    assert not config.output_dir.exists()


def test_the_command_that_is_printed_says_what_was_asked_and_no_more(
    config: BridgeTrainerConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    config.print_to_terminal()
    said = capsys.readouterr().out
    assert said.startswith("ns-train bridge-distill --prompt 'a pineapple'")
    assert "--max-num-iterations 6" in said and "None" not in said


def test_a_folder_that_cannot_be_written(config: BridgeTrainerConfig, trained: Train, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config.output_dir = tmp_path / "file" / "outputs"
    assert "Not a directory" in refused(config, trained)


def test_a_full_disk_keeps_the_last_checkpoint(
    config: BridgeTrainerConfig, trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace
    checkpoints: list[Path] = []

    def full(source: str, target: Path) -> None:
        if target.suffix == ".ckpt":
            checkpoints.append(target)
            if len(checkpoints) == 2:
                raise OSError(28, "No space left on device", str(target))
        replace(source, target)

    monkeypatch.setattr("bridge_nerf.files.os.replace", full)
    assert "No space left" in refused(config, trained, "run")
    folder = config.get_checkpoint_dir()
    assert [p.name for p in folder.iterdir()] == ["step-000000002.ckpt"]
    assert checkpoint.read(checkpoint.latest(folder))["step"] == 2


def test_nan_stops_the_run_after_the_last_good_checkpoint(
    config: BridgeTrainerConfig, trained: Train, prior: PicturePrior, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    eps, calls = prior.eps, []

    def sick(x_t, t, condition):
        calls.append(t)
        return eps(x_t, t, condition) * (torch.nan if len(calls) > 3 else 1)

    monkeypatch.setattr(prior, "eps", sick)
    assert "step 3: non-finite gradient" in refused(config, trained, "run")
    assert checkpoint.read(checkpoint.latest(config.get_checkpoint_dir()))["step"] == 2
    assert "to resume" in capsys.readouterr().out


def test_a_vanished_object_is_said(config: BridgeTrainerConfig, trained: Train) -> None:
    config.pipeline.model.field.blob_radius = 1e-3
    assert "step 0: the object has vanished" in refused(config, trained)


def test_parameters_that_are_not_finite_are_never_saved(config: BridgeTrainerConfig, trained: Train) -> None:
    trainer = trained(config, "run")
    with torch.no_grad():
        trainer.pipeline.model.field.network[0].bias[0] = torch.inf
    before = checkpoint.latest(trainer.checkpoint_dir).read_bytes()
    with pytest.raises(ValueError, match="step 9: .* is not finite"):
        trainer.save_checkpoint(9)
    assert checkpoint.latest(trainer.checkpoint_dir).read_bytes() == before


def test_a_prior_that_has_moved_is_said_once(
    config: BridgeTrainerConfig, trained: Train, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(
        "bridge_nerf.nerf.pipeline.load_prior", lambda name, *_, **__: loaded.append(name) or PicturePrior()
    )
    monkeypatch.setattr("bridge_nerf.priors.registry._cached", lambda name: False)
    config.pipeline.prior, config.max_num_iterations = "runwayml/stable-diffusion-v1-5", 1
    trained(config, "run")
    assert loaded == ["stable-diffusion-v1-5/stable-diffusion-v1-5"]
    assert "has left the hub" in " ".join(capsys.readouterr().out.split())


def test_tensorboard_gets_pictures_and_numbers(config: BridgeTrainerConfig, trained: Train) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config.steps_per_eval_batch = 2
    trained(config, "run")
    events = EventAccumulator(str(config.get_base_dir()))
    events.Reload()
    tags = events.Tags()
    assert "Eval Images/img" in tags["images"]
    assert {"Eval Loss", "Eval Loss Dict/distillation"} <= set(tags["scalars"])
    assert {"Eval Images Metrics Dict (all images)/fog", "Train Metrics Dict/pull"} <= set(tags["scalars"])
