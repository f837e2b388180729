"""Text to 3D on the pretended card: a step's devices, copies and waits; whole runs."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from bridge_nerf.method_configs.presets import variant_config
from torch import Tensor

from bridge_nerf.flags import leaves
from bridge_nerf.nerf.engine.trainer import BridgeTrainerConfig
from bridge_nerf.nerf.pipeline import BridgePipeline
from bridge_nerf.nerf.scene.field import FieldConfig
from tests.card.memory import Ledger, on_card
from tests.nerf.conftest import train
from tests.nerf.engine.test_trainer import same, state

COPIES, WAITS = 8, 12
"""What a step may ask of the card, at most; a copy that is not asynchronous waits too."""

Folders = Mapping[str, Path]


def small(folder: Path, encoding: str = "grid", **guidance: Any) -> BridgeTrainerConfig:
    """bridge-distill with a prior from the folder, 16 pixels, and a field of a few thousand numbers."""
    config = variant_config("bridge-distill", "toybox")
    cameras, model = config.pipeline.datamanager, config.pipeline.model
    cameras.train_resolution = cameras.eval_resolution = 16
    cameras.eval_cameras = 4
    sizes = {"grid_resolutions": (4, 8), "grid_features": 2, "hash_levels": 4, "hidden": 8}
    model.field = FieldConfig(encoding, **sizes)  # type: ignore[arg-type]
    model.samples = model.eval_samples = 16
    config.max_num_iterations, config.steps_per_save, config.turntable_frames = 6, 2, 2
    config.steps_per_eval_image, config.steps_per_eval_all_images = 3, 5
    config.vis, config.prior_kind = "tensorboard", "toybox"
    model.prompt = "a red apple"
    words = {"target-descriptors": "sharp", "source-descriptors": "blurry"}
    options = {"prior": str(folder), "prior.dtype": "float32", "stage-start": 3, "ode-steps": 2} | words
    known = {leaf.flag: leaf for leaf in leaves(config.pipeline)}
    for flag, value in (options | guidance).items():
        known[flag].put(value)
    return config


class Steps:
    """A pipeline and its optimizers, as nerfstudio's trainer drives them."""

    def __init__(self, config: BridgeTrainerConfig, device: str = "cuda") -> None:
        self.pipeline: BridgePipeline = config.pipeline.setup(device=device)
        self.pipeline.setup_guidance(0)
        self.pipeline.train()
        groups = self.pipeline.get_param_groups()
        self.optimizers = [torch.optim.Adam(group, lr=1e-3, eps=1e-15) for group in groups.values()]

    def step(self, k: int) -> dict[str, Tensor]:
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        _, losses, _ = self.pipeline.get_train_loss_dict(k)
        sum(losses.values(), torch.zeros(())).backward()
        for optimizer in self.optimizers:
            optimizer.step()
        return losses

    def gradients(self) -> dict[str, Tensor]:
        return {n: p.grad for n, p in self.pipeline.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("encoding", ["grid", "hash"])
def test_a_step_is_within_its_budget(card: Ledger, folders: Folders, encoding: str) -> None:
    run = Steps(small(folders["sd-eps"], encoding))
    for k in range(2):  # what is read, recorded and allocated once
        run.step(k)
    with card.counted() as tally:
        run.step(2)
    assert tally.copies.total() <= COPIES and tally.waits.total() <= WAITS, tally.table("copies", "waits")


@pytest.mark.parametrize("encoding", ["grid", "hash"])
def test_every_gradient_of_both_stages_lies_on_the_card(
    card: Ledger, folders: Folders, encoding: str
) -> None:
    run = Steps(small(folders["sd-eps"], encoding))
    for k in (0, 3):
        losses = run.step(k)
        assert run.gradients() and all(map(on_card, (*losses.values(), *run.gradients().values())))


def test_vsd_with_cameras(card: Ledger, folders: Folders) -> None:
    run = Steps(small(folders["sd-eps"], objective="vsd"))
    for k in range(2):
        losses = run.step(k)
    assert on_card(losses["adapter"]) and all(map(on_card, run.gradients().values()))
    assert {"adapter.camera.shift", "adapter.corrections"} <= {
        name if "camera" in name else ".".join(name.split(".")[:2]) for name in run.gradients()
    }


@pytest.mark.parametrize("objective", ["bridge", "vsd"])
@pytest.mark.parametrize("encoding", ["grid", "hash"])
@pytest.mark.parametrize("prior, model", [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_prior_on_another_device_than_the_object(
    card: Ledger, folders: Folders, objective: str, encoding: str, prior: str, model: str
) -> None:
    run = Steps(small(folders["sd-eps"], encoding, objective=objective, **{"prior.device": prior}), model)
    for k in (0, 3):
        run.step(k)
    placed = {name: gradient.device.type for name, gradient in run.gradients().items()}
    assert all(where == (prior if name.startswith("adapter") else model) for name, where in placed.items())


def test_the_text_encoders_rest_while_training_goes_on(
    card: Ledger, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Steps(small(folders["sd-eps"], objective="vsd"))

    def disturbed(*_: Any, **__: Any) -> None:
        raise AssertionError("a text encoder was disturbed")

    for text in run.pipeline.distiller.prior.text_encoders:  # type: ignore[attr-defined]
        monkeypatch.setattr(text.encoder, "forward", disturbed)
        monkeypatch.setattr(text.encoder, "to", disturbed)
    for k in range(5):
        run.step(k)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["bridge", "vsd"])
@pytest.mark.parametrize("mixed", [False, True], ids=["single", "mixed"])
def test_resuming_is_never_having_stopped(
    card: Ledger, folders: Folders, tmp_path: Path, objective: str, mixed: bool
) -> None:
    config = small(folders["sd-eps"], objective=objective)
    config.output_dir, config.mixed_precision, config.use_grad_scaler = tmp_path, mixed, mixed
    assert config.machine.device_type == "cuda"
    whole = train(deepcopy(config), "whole")
    assert (whole.base_dir / "turntable.mp4").is_file() and whole.mixed_precision == mixed
    assert all(map(on_card, whole.pipeline.parameters()))
    first, second = deepcopy(config), deepcopy(config)
    first.max_num_iterations = 4
    stopped = train(first, "first")
    second.load_dir, second.max_num_iterations = stopped.checkpoint_dir, 2
    resumed = train(second, "second")
    assert same(state(resumed), state(whole))
    moments = [s["exp_avg"] for o in resumed.optimizers.optimizers.values() for s in o.state.values()]
    assert moments and all(map(on_card, moments))
