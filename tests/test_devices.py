"""Settings of the device that computes."""

from __future__ import annotations

import pytest
import torch

from bridge_nerf.devices import check_device, check_processes, send, tune
from bridge_nerf.errors import UserError


def test_a_cpu_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    tune("cpu")
    assert torch.get_float32_matmul_precision() == "highest" and not torch.backends.cudnn.benchmark


def test_a_card_multiplies_as_tf32(monkeypatch):
    said = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", said.append)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    tune("cuda:1")
    assert said == ["high"] and torch.backends.cudnn.benchmark


def test_what_stays_in_main_memory_is_not_copied():
    value = torch.ones(3)
    assert send(value, torch.device("cpu")) is value


@pytest.mark.parametrize(
    "name", ["meta", "mps", "cuda:99", "cuda:-1", "cpu:7", "", "gpu", "cuda:" + "9" * 30]
)
def test_a_device_that_is_not_there_is_one_line(name):
    with pytest.raises(UserError, match="device") as caught:
        check_device(name)
    assert "\n" not in str(caught.value)


def test_a_machine_without_gpus_takes_no_more_processes_than_work(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("bridge_nerf.devices.cores", lambda: 16)
    check_processes(16)
    with pytest.raises(UserError, match="--workers 64 is more than there are: give a number from 1 to 16"):
        check_processes(64, "workers")
