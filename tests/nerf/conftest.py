"""A run small enough to train in a second, with a prior in closed form."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from unittest import mock

import pytest
from nerfstudio.configs import base_config  # before its writer module: they import each other

from bridge_nerf.nerf.engine.trainer import BridgeTrainer, BridgeTrainerConfig
from bridge_nerf.nerf.scene.field import FieldConfig
from tests.nerf.stub import StubPrior


@pytest.fixture(autouse=True)
def no_writers_left() -> Iterator[None]:
    """nerfstudio keeps its log writers in module globals."""
    yield
    forget_writers()


def forget_writers() -> None:
    """Make nerfstudio's log writers as in a fresh process."""
    writer = base_config.writer
    writer.EVENT_WRITERS.clear()
    writer.EVENT_STORAGE.clear()
    writer.GLOBAL_BUFFER.clear()


@pytest.fixture
def prior(monkeypatch: pytest.MonkeyPatch) -> StubPrior:
    """The stub, in the place of whatever the configuration names."""
    stub = StubPrior()
    monkeypatch.setattr("bridge_nerf.priors.registry.load_prior", lambda *_, **__: stub)
    return stub


@pytest.fixture
def config(tmp_path: Path) -> BridgeTrainerConfig:
    """The registered method, made small: 6 steps of 16 pixels."""
    return small_config(tmp_path)


def small_config(folder: Path) -> BridgeTrainerConfig:
    """The registered method, made small, with its outputs in the folder."""
    from nerfstudio.configs.method_configs import all_methods

    small = deepcopy(all_methods["bridge-distill"])
    assert isinstance(small, BridgeTrainerConfig)
    small.output_dir, small.vis = folder / "outputs", "tensorboard"
    small.max_num_iterations, small.steps_per_save, small.turntable_frames = 6, 2, 4
    small.steps_per_eval_image, small.steps_per_eval_all_images = 3, 5
    small.machine.device_type = "cpu"
    cameras, model = small.pipeline.datamanager, small.pipeline.model
    cameras.train_resolution = cameras.eval_resolution = 16
    cameras.eval_cameras = 4
    model.field = FieldConfig(grid_resolutions=(4, 8), grid_features=2, hidden=8)
    model.samples = model.eval_samples = 16
    small.pipeline.prior.name, small.pipeline.guidance.objective.stage_start = "toybox", 3
    small.prior_kind = "toybox"  # whatever the prior is called
    return small


def train(config: BridgeTrainerConfig, timestamp: str) -> BridgeTrainer:
    """A configuration trained to its end, in the folder with the given time stamp."""
    config.timestamp = timestamp
    config.set_timestamp()
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    trainer.train()
    return trainer


def noted(run: Path) -> dict[str, str]:
    """Name -> command that a run has noted."""
    return dict(re.findall(r"^(\w+) +(.*)$", (run / "commands.txt").read_text(), re.MULTILINE))


def ns_train(command: str) -> None:
    """Call `ns-train` in this process, as its command says."""
    from nerfstudio.scripts.train import entrypoint

    words = shlex.split(command)
    assert words[0] == "ns-train"
    forget_writers()
    with mock.patch.object(sys, "argv", words):
        entrypoint()


@pytest.fixture
def trained(prior: StubPrior) -> Callable[[BridgeTrainerConfig, str], BridgeTrainer]:
    """`train`, with the stub for a prior."""
    return train
