"""Settings of the device that computes."""

from __future__ import annotations

import torch

from bridge_nerf.devices import send, tune


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
