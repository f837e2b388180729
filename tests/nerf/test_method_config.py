"""The registered method: what nerfstudio sees, and that it can do no harm."""

import importlib
import sys

import pytest
import torch
from bridge_nerf.method_configs import bridge_distill, presets
from nerfstudio.plugins.types import MethodSpecification

from bridge_nerf.errors import UserError
from bridge_nerf.nerf.learning_rate import RampSchedulerConfig


def test_nerfstudio_knows_the_method() -> None:
    from nerfstudio.configs.method_configs import all_descriptions, all_methods

    assert isinstance(bridge_distill.bridge_distill, MethodSpecification)
    assert all_methods["bridge-distill"].method_name == "bridge-distill"
    assert "distill" in all_descriptions["bridge-distill"]


@pytest.mark.parametrize(("gpu", "device"), [(False, "cpu"), (True, "cuda")])
def test_defaults_follow_the_machine(monkeypatch: pytest.MonkeyPatch, gpu: bool, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    config = presets.bridge_distill_config()
    assert config.machine.device_type == device
    assert config.viewer.websocket_host == "127.0.0.1"
    assert config.steps_per_eval_batch == 0
    assert 0 < config.pipeline.stage_start < config.max_num_iterations
    schedulers = [group["scheduler"] for group in config.optimizers.values()]
    assert all(isinstance(s, RampSchedulerConfig) and s.end >= config.max_num_iterations for s in schedulers)


def test_a_missing_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    config = presets.bridge_distill_config()
    config.machine.device_type = "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="device-type cpu"):
        config.check()


def test_a_broken_install_leaves_other_methods_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bridge_nerf.method_configs.presets", None)  # its import now fails
    with pytest.warns(UserWarning, match="bridge-distill is not available"):
        broken = importlib.reload(bridge_distill)
    assert broken.bridge_distill is None
    monkeypatch.undo()
    importlib.reload(bridge_distill)
