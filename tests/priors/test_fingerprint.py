"""Other weights, other letters; the same weights, the same letters, wherever they lie."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bridge_nerf.priors import components
from bridge_nerf.priors.diffusers_prior import DiffusersPrior
from bridge_nerf.priors.fingerprint import LENGTH, SAMPLES, fingerprint
from bridge_nerf.seeding import generator
from tests.priors.tiny import WORDS, build_tiny_pipeline
from tests.priors.tiny_families import FAMILIES, build

UNET, VAE = ("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model")
TEXT = ("text_encoder", "model")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_pipeline(tmp_path_factory.mktemp("tiny") / "tiny", words=WORDS)


@pytest.fixture(scope="module")
def letters(tiny: Path) -> str:
    return DiffusersPrior.load(tiny).fingerprint


def changed(
    tiny: Path, tmp_path: Path, part: tuple[str, str], change: Callable[[dict[str, Tensor]], None]
) -> str:
    """Letters of the pipeline with other weights in one of its files."""
    folder = shutil.copytree(tiny, tmp_path / "changed")
    file = folder / part[0] / f"{part[1]}.safetensors"
    state = load_file(file)
    change(state)
    save_file(state, file, {"format": "pt"})
    return DiffusersPrior.load(folder).fingerprint


def trained(state: dict[str, Tensor]) -> None:
    for value in state.values():
        value += 1e-4 * torch.randn(value.shape, generator=generator(0, "gradient"))


def merged(state: dict[str, Tensor]) -> None:
    """A LoRA of rank 1 on the queries alone."""
    name = next(name for name in state if name.endswith("to_q.weight"))
    rows, columns = state[name].shape
    draws = generator(0, "lora")
    state[name] += 1e-4 * torch.randn(rows, 1, generator=draws) @ torch.randn(1, columns, generator=draws)


@pytest.mark.parametrize(
    ("part", "change"),
    [(UNET, trained), (UNET, merged), (VAE, trained), (TEXT, trained)],
    ids=["trained", "LoRA", "autoencoder", "text encoder"],
)
def test_letters_change_with_the_weights_of_every_part(tiny, tmp_path, letters, part, change):
    assert len(letters) == LENGTH
    assert changed(tiny, tmp_path, part, change) != letters


def test_letters_stay_with_the_same_weights_elsewhere_and_in_another_order(tiny, tmp_path, letters):
    def turned(state: dict[str, Tensor]) -> None:
        for name in reversed(list(state)):
            state[name] = state.pop(name)

    assert changed(tiny, tmp_path, UNET, turned) == letters


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("scheduler/scheduler_config.json", "prediction_type", "v_prediction"),
        ("scheduler/scheduler_config.json", "beta_end", 0.02),
        ("vae/config.json", "scaling_factor", 0.5),
        ("unet/config.json", "flip_sin_to_cos", False),
    ],
)
def test_letters_change_with_what_the_weights_are_taken_for(tiny, tmp_path, letters, file, key, value):
    folder = shutil.copytree(tiny, tmp_path / "changed")
    said = json.loads((folder / file).read_text())
    assert said[key] != value
    (folder / file).write_text(json.dumps(said | {"_name_or_path": "/elsewhere"}))
    assert DiffusersPrior.load(folder).fingerprint == letters
    (folder / file).write_text(json.dumps(said | {key: value}))
    assert DiffusersPrior.load(folder).fingerprint != letters


def test_letters_change_with_precision(tiny, letters):
    halves = {DiffusersPrior.load(tiny, dtype=dtype).fingerprint for dtype in (torch.half, torch.bfloat16)}
    assert len(halves | {letters}) == 3


@pytest.mark.parametrize("family", FAMILIES)
def test_no_network_is_asked_and_none_has_left_main_memory(family, tmp_path, monkeypatch):
    folder = build(family, tmp_path / family)
    events: list[str] = []
    monkeypatch.setattr(components, "place", lambda *_: events.append("placed"))
    monkeypatch.setattr(torch.nn.Module, "__call__", lambda *_, **__: pytest.fail("a network was asked"))
    taken = components.fingerprint

    def take(*given):
        events.append("taken")
        return taken(*given)

    monkeypatch.setattr(components, "fingerprint", take)
    prior = DiffusersPrior.load(folder)
    assert events[0] == "taken" and events.count("taken") == 1 and "placed" in events
    assert len(prior.fingerprint) == LENGTH


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The folder of a pipeline whose configurations say nothing."""
    for file in ("scheduler/scheduler_config.json", "unet/config.json"):
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).write_text("{}")
    return tmp_path


@pytest.mark.parametrize("size", [1, SAMPLES, 2 * SAMPLES, 2**20])
def test_every_column_of_a_matrix_is_looked_at(bare, size):
    """Also where their number is a power of two, as that of the samples is."""
    side = max(1, int(size**0.5))
    network = torch.nn.Linear(side, side, bias=False)
    before = fingerprint(bare, {"unet": network})
    for column in {0, side // 2, side - 1}:
        with torch.no_grad():
            network.weight[:, column] += 1
        after = fingerprint(bare, {"unet": network})
        assert after != before
        before = after


def test_the_order_in_memory_makes_no_difference(bare):
    network = torch.nn.Conv2d(8, 64, 3)
    usual = fingerprint(bare, {"unet": network})
    assert fingerprint(bare, {"unet": network.to(memory_format=torch.channels_last)}) == usual
