"""Runs that cannot begin, or cannot go on: one line says why, and nothing that was there is lost."""

import math
import os
import re
from copy import deepcopy
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch

from bridge_nerf.errors import UserError
from bridge_nerf.flags import Leaf, leaves
from bridge_nerf.nerf.engine import checkpoint
from bridge_nerf.nerf.engine.trainer import BridgeTrainerConfig
from bridge_nerf.nerf.engine.validation import RANGES
from bridge_nerf.nerf.model import BridgeModel
from tests.nerf.engine.test_trainer import Train
from tests.nerf.stub import StubPrior


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
        ("pipeline.model.prompt", "a red\ncar", "has a line break"),
        ("prompt", "a red\u2028car", "has a line break"),
        ("prompt", "?! \N{EM DASH}\N{IDEOGRAPHIC COMMA}", "prompt is empty"),
        ("pipeline.model.prompt", "a xylophone", 'unknown word "xylophone"'),
        ("pipeline.model.prompt", "apple " * 50, "shorten"),
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
        ("pipeline.model.least_weight", 1.0, "give a number from 0 to below 1"),
        ("pipeline.model.prompt", "a caf\udce9", '--pipeline.model.prompt "a caf\\udce9" holds bytes'),
        ("pipeline.view.front_only", ("a", "\udce9"), "--pipeline.view.front-only"),
        ("output_dir", Path("caf\udce9"), '--output-dir "caf\\udce9" holds bytes that are not UTF-8'),
        ("machine.seed", -1, "--machine.seed -1 makes no sense; give a number from 0 to 4294967295"),
        ("machine.seed", 2**70, f"--machine.seed {2**70} makes no sense"),
        ("machine.num_devices", 2, "--machine.num-devices 2 is more than there are"),
        ("machine.num_devices", 0, "--machine.num-devices 0 makes no sense; give a number from 1 to"),
        ("machine.num_machines", 2, "--machine.num-machines 2 wants CUDA devices; give 1"),
        ("machine.machine_rank", 1, "--machine.machine-rank 1 makes no sense; give a number from 0 to 0"),
        ("machine.device_type", "mps", "there is no device mps"),
        ("mixed_precision", True, "--mixed-precision True changes nothing on a CPU"),
        ("pipeline.prior.graphs", "on", "no CUDA graphs on cpu"),
        ("pipeline.prior.device", "meta", "there is no device meta"),
        ("pipeline.prior.revision", "v2", 'revision "v2" means nothing for "toybox"'),
        ("pipeline.prior.name", "SDXL", 'did you mean "sdxl"?'),
        ("pipeline.prior.name", "x.safetensors", "there is no file x.safetensors"),
        (
            "pipeline.guidance.perp_neg",
            float("nan"),
            "--pipeline.perp-neg nan makes no sense; give a number from 0 to",
        ),
        ("pipeline.model.field.grid_resolutions", (24, 0), "--pipeline.model.field.grid-resolutions 0"),
        ("pipeline.model.field.grid_resolutions", (), "grid-resolutions says nothing"),
        ("pipeline.model.field.blob_radius", 0.0, "give a number above 0"),
        ("pipeline.model.collider_params", {"near_plane": float("nan")}, "near-plane nan"),
        ("pipeline.objective", "alchemy", "bridge"),
        ("pipeline.prior.name", "no-such-prior", "unknown prior"),
        ("pipeline.guidance.times.minimum", 0.99, "minimum"),
        (
            "pipeline.datamanager.train_resolution",
            128,
            "train-resolution 128 would fall to 64 at step 150; give --pipeline.datamanager.final-res",
        ),
        ("pipeline.model.regularise_from", 500, "from step 500 to step 130"),
        ("data", Path("photos"), "--data"),
        ("load_dir", Path("nowhere"), "no checkpoint"),
    ],
)
def test_bad_input_ends_in_one_line(
    config: BridgeTrainerConfig, trained: Train, field: str, value: object, said: str
) -> None:
    set_(config, field, value)
    assert said in refused(config, trained)
    assert not list(config.output_dir.rglob("*"))


def test_a_learning_rate_cannot_fall_backwards(config: BridgeTrainerConfig, trained: Train) -> None:
    config.optimizers["network"]["scheduler"].end = 10
    assert "from step 230 to step 10" in refused(config, trained)
    assert not config.output_dir.exists()


@pytest.mark.parametrize("rate", [-1.0, float("nan"), float("inf")])
def test_a_learning_rate_that_makes_no_sense(
    config: BridgeTrainerConfig, trained: Train, rate: float
) -> None:
    config.optimizers["encoding"]["optimizer"].lr = rate
    assert f"--optimizers.encoding.optimizer.lr {rate:g} makes no sense" in refused(config, trained)


def is_number(leaf: Leaf) -> bool:
    """True where a flag takes numbers, also where its default is None or several."""
    hint = get_type_hints(type(leaf.owner)).get(leaf.name) if is_dataclass(leaf.owner) else type(leaf.value)
    return not {int, float}.isdisjoint([hint, *get_args(hint)])


MAY_BE_NEGATIVE = {
    "elevation-range", "overhead-range", "eval-elevation", "overhead-elevation", "blob-height",
    "max-num-display-images", "guidance-scale", "stage-two-scale", "stage-two-anchor", "stage-two-guidance",
    "stage-two-final-weight",
}  # fmt: skip


@pytest.mark.parametrize("absurd", [10**30, -(10**30), math.nan, -1])
def test_no_number_may_be_absurd(config: BridgeTrainerConfig, absurd: float) -> None:
    numbers = [place for place, leaf in enumerate(leaves(config)) if is_number(leaf)]
    assert len(numbers) > 80
    for place in numbers:
        leaf = list(leaves(broken := deepcopy(config)))[place]
        if absurd == -1 and leaf.flag.rpartition(".")[2] in MAY_BE_NEGATIVE:
            continue
        leaf.put((absurd,) * len(leaf.value) if isinstance(leaf.value, tuple) else absurd)
        with pytest.raises(UserError) as caught:
            broken.check()
        said = str(caught.value)
        assert "\n" not in said and (leaf.flag in said or f"{absurd}" in said), said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pipeline.model.field.grid_resolutions": (2048,) * 4}, "lower --pipeline.model.field, which takes"),
        ({"pipeline.datamanager.train_resolution": 8192, "pipeline.datamanager.final_resolution": 8192,
          "pipeline.datamanager.cameras_per_step": 1024}, "lower --pipeline.datamanager.cameras-per-step"),
        ({"turntable_frames": 10_000, "pipeline.datamanager.eval_resolution": 8192}, "--turntable-frames"),
        ({"gradient_accumulation_steps": {"encoding": 0}}, "--gradient-accumulation-steps encoding 0"),
        ({"gradient_accumulation_steps": {"colours": 2}}, "one or more of encoding, network, adapter"),
    ],
)  # fmt: skip
def test_what_would_never_fit(config: BridgeTrainerConfig, changes: dict[str, object], said: str) -> None:
    for field, value in changes.items():
        set_(config, field, value)
    with pytest.raises(UserError, match=said):
        config.check()


@pytest.mark.parametrize("log", ["wandb", "viewer+wandb", "comet", "viewer+comet"])
def test_a_log_that_would_ask_for_a_key(
    config: BridgeTrainerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: str
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "COMET_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    config.vis = log  # type: ignore[assignment]
    with pytest.raises(UserError, match=f"--vis {re.escape(log)} would ask for a key; set [A-Z]+_API_KEY"):
        config.check()
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("COMET_API_KEY", "a key")
    config.check()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match="needs the package"):
        config.check()


def test_every_range_is_that_of_a_field_whose_default_it_holds(config: BridgeTrainerConfig) -> None:
    everything = list(leaves(config))
    assert set(RANGES) <= {leaf.flag for leaf in everything}
    for leaf in everything:
        own = getattr(type(leaf.owner), "RANGES", {})
        assert all(hasattr(leaf.owner, name) for name in own), own
        range_ = own.get(leaf.name) or RANGES.get(leaf.flag)
        if range_ and isinstance(leaf.value, int | float):
            assert range_.holds(leaf.value), leaf.flag


def test_as_many_gpus_as_there_are(config: BridgeTrainerConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    config.machine.device_type, config.machine.num_devices = "cuda", 2
    config.check()
    config.machine.num_machines = 2
    with pytest.raises(UserError, match="wants --machine.dist-url"):
        config.check()
    config.machine.dist_url, config.machine.machine_rank = "tcp://192.0.2.1:29500", 1
    config.check()
    config.machine.num_devices = 3
    with pytest.raises(UserError, match="num-devices 3 is more than there are.* give a number from 1 to 2"):
        config.check()


def test_too_little_memory_is_one_line(
    config: BridgeTrainerConfig, trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr(StubPrior, "encode", full)
    assert "not enough memory (CUDA out of memory.)" in refused(config, trained)


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
    config: BridgeTrainerConfig, trained: Train, prior: StubPrior, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    eps, calls = prior.eps, []

    def sick(x_t, t, condition):
        calls.append(t)
        return eps(x_t, t, condition) * (torch.nan if len(calls) > 3 else 1)

    monkeypatch.setattr(prior, "eps", sick)
    assert "step 3: non-finite gradient" in refused(config, trained, "run")
    assert checkpoint.read(checkpoint.latest(config.get_checkpoint_dir()))["step"] == 2
    assert "to resume" in capsys.readouterr().out


def test_what_is_added_to_the_loss_is_not_blamed_on_the_prior(
    config: BridgeTrainerConfig, trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BridgeModel, "get_loss_dict", lambda *_, **__: {"sparsity": torch.tensor(torch.inf)})
    said = refused(config, trained)
    assert "step 0: the sparsity loss is inf" in said and said.endswith("lower its weight")


def test_a_vanished_object_is_said(config: BridgeTrainerConfig, trained: Train) -> None:
    config.pipeline.model.field.blob_radius = 1e-3
    assert "step 0: the object has vanished" in refused(config, trained)


def test_nan_is_not_called_a_vanished_object(config: BridgeTrainerConfig, trained: Train) -> None:
    config.pipeline.model.entropy_weight = 0.0
    config.optimizers["encoding"]["optimizer"].lr = config.optimizers["network"]["optimizer"].lr = 1e6
    config.optimizers["network"]["optimizer"].eps = config.optimizers["encoding"]["optimizer"].eps = 0.0
    said = refused(config, trained)
    assert "is not finite, most likely as a learning rate is too high; resume with a lower one" in said


def test_parameters_that_are_not_finite_are_never_saved(config: BridgeTrainerConfig, trained: Train) -> None:
    trainer = trained(config, "run")
    with torch.no_grad():
        trainer.pipeline.model.field.network[0].bias[0] = torch.inf
    before = checkpoint.latest(trainer.checkpoint_dir).read_bytes()
    with pytest.raises(ValueError, match="step 9: .* is not finite"):
        trainer.save_checkpoint(9)
    assert checkpoint.latest(trainer.checkpoint_dir).read_bytes() == before
