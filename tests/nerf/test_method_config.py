"""The registered method: what nerfstudio sees, and that it can do no harm."""

import importlib
import sys

import pytest
import torch
from bridge_nerf.method_configs import bridge_distill, presets
from nerfstudio.plugins.types import MethodSpecification

from bridge_nerf.errors import UserError
from bridge_nerf.nerf.engine.learning_rate import RampSchedulerConfig


@pytest.mark.parametrize("name", presets.DESCRIPTIONS)
def test_nerfstudio_knows_the_method(name: str) -> None:
    from nerfstudio.configs.method_configs import all_descriptions, all_methods

    specification = getattr(bridge_distill, name.replace("-", "_"))
    assert isinstance(specification, MethodSpecification)
    # nerfstudio registers a method under its configuration's name, not its entry point's.
    assert all_methods[name].method_name == name
    assert all_descriptions[name] == presets.DESCRIPTIONS[name]


def test_variants_differ_in_what_they_are_named_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for gpu in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        lite, big, tiny, fine = (
            presets.variant_config(f"bridge-distill-{name}") for name in ("lite", "big", "tiny", "fine")
        )
        priors = [config.pipeline.prior.name for config in (lite, big, tiny, fine)]
        assert priors == ["sd-2.1", "sdxl", "toybox", "toybox"]
        assert [config.pipeline.datamanager.cameras_per_step for config in (tiny, fine)] == [1, 3]
        assert tiny.machine.device_type == ("cuda" if gpu else "cpu")
        toybox = presets.variant_config("bridge-distill", "toybox")
        assert tiny.pipeline.guidance == fine.pipeline.guidance == toybox.pipeline.guidance
        assert lite.machine.device_type == big.machine.device_type == "cuda"
        usual = presets.variant_config("bridge-distill", "sd")
        sizes = [config.pipeline.datamanager.final_resolution for config in (lite, usual, big)]
        assert sizes == [128, 256, 256]
        assert [config.pipeline.model.samples for config in (lite, usual, big)] == [64, 96, 128]
        assert lite.pipeline.prior.checkpointing and big.pipeline.prior.checkpointing


def test_configurations_are_not_shared() -> None:
    first, second = (presets.variant_config("bridge-distill-lite") for _ in range(2))
    first.pipeline.datamanager.train_resolution = 7
    assert second.pipeline.datamanager.train_resolution != 7


def test_a_prior_device_that_is_not_there_is_refused_at_once() -> None:
    config = presets.variant_config("bridge-distill-tiny")
    config.pipeline.model.prompt, config.machine.device_type = "a pineapple", "cpu"
    for device, said in (("gpu", 'unknown device "gpu"'), ("cuda:7", "no device cuda:7")):
        config.pipeline.prior.device = device
        with pytest.raises(UserError, match=said):
            config.check()


@pytest.mark.parametrize(("gpu", "device"), [(False, "cpu"), (True, "cuda")])
def test_defaults_follow_the_machine(monkeypatch: pytest.MonkeyPatch, gpu: bool, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    config = presets.variant_config("bridge-distill")
    assert config.machine.device_type == device
    assert config.viewer.websocket_host == "127.0.0.1"
    assert config.steps_per_eval_batch == 0
    assert 0 < config.pipeline.guidance.objective.stage_start < config.max_num_iterations
    schedulers = [group["scheduler"] for name, group in config.optimizers.items() if name != "adapter"]
    assert all(isinstance(s, RampSchedulerConfig) and s.end >= config.max_num_iterations for s in schedulers)


def test_a_missing_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    config = presets.variant_config("bridge-distill")
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
