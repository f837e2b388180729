"""The memory told before loading, against the networks themselves."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bridge_nerf.errors import UserError
from bridge_nerf.priors import families, memory
from bridge_nerf.priors.diffusers_prior import DiffusersPrior
from bridge_nerf.priors.inspection import inspect
from bridge_nerf.priors.memory import Estimate, check_room, count_numbers, estimate, free_bytes
from bridge_nerf.priors.pipeline_files import check_folder
from bridge_nerf.priors.registry import load_prior
from tests.priors.tiny_families import FAMILIES, build


def size(network: Any) -> int:
    # A T5's table of embeddings has two names.
    storages = {v.data_ptr(): v.numel() * v.element_size() for v in network.state_dict().values()}
    return sum(storages.values())


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_estimate_is_the_size_of_what_is_loaded(folder: Path, dtype: torch.dtype) -> None:
    told = estimate(folder, check_folder(folder), dtype)
    prior = DiffusersPrior.load(folder, dtype=dtype)
    networks = size(prior.components.denoiser) + (
        prior.components.vae is not None and size(prior.components.vae)
    )
    texts = [size(text.encoder) for text in prior.text_encoders]
    assert sum(told.networks.values()) == networks
    assert sum(told.text_encoders.values()) == sum(texts)
    assert told.on_device == sum(told.networks.values()) + max(told.text_encoders.values())


def test_the_estimate_is_printed_before_loading(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load_prior(str(folder), "cpu")
    said = capsys.readouterr().out
    assert f"prior: {folder} in float32 on cpu" in said and "GiB of weights at most on the device" in said


def test_a_folder_is_inspected_without_its_networks(folder: Path) -> None:
    assert check_folder(folder).title in inspect(folder) and "GiB" in inspect(folder)


GIB = 2**30
NEED = Estimate({"unet": 2 * GIB, "vae": GIB}, {"text_encoder": 4 * GIB, "text_encoder_2": GIB})


def test_too_little_memory_is_refused_before_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 7.5 * GIB)
    check_room(NEED, "big", "cuda")  # text encoders visit one at a time: 2 + 1 + 4
    with pytest.raises(
        UserError, match=r'not enough memory on cpu .*"big" \(needs 8.0 GiB, 7.5 GiB are free'
    ):
        check_room(NEED, "big", "cpu")
    monkeypatch.setattr(memory, "free_bytes", lambda device: None)
    check_room(NEED, "big", "cpu")


def test_free_memory_is_what_the_system_says() -> None:
    free = free_bytes(torch.device("cpu"))
    if not Path("/proc/meminfo").exists():
        pytest.skip("this system does not say")
    assert free is not None and 2**20 < free < 2**50
    assert free_bytes(torch.device("meta")) is None


def test_running_out_while_loading_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory\nand more")

    monkeypatch.setattr(DiffusersPrior, "load", full)
    with pytest.raises(UserError, match=r"not enough memory on cpu .*\(CUDA out of memory\)"):
        load_prior(str(folder), "cpu")


def test_what_checkpointing_saves(open_sd: Any) -> None:
    """Bytes that autograd keeps for the gradient of one encoding."""
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    kept, gradients = {}, {}
    for checkpointing in (False, True):
        prior = load_prior(str(open_sd), "cpu", checkpointing=checkpointing)
        storages: dict[int, int] = {}

        def keep(tensor: torch.Tensor, storages: dict[int, int] = storages) -> torch.Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            latents = prior.encode(images)
        kept[checkpointing] = sum(storages.values())
        (gradients[checkpointing],) = torch.autograd.grad(latents.square().sum(), images)
    assert kept[True] < 0.6 * kept[False]
    torch.testing.assert_close(gradients[True], gradients[False])


@pytest.fixture(scope="module")
def open_sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sd-eps", tmp_path_factory.mktemp("sd"))


def test_damaged_headers_are_told(tmp_path: Path) -> None:
    for content in (b"", b"\x10\x00\x00\x00\x00\x00\x00\x00{", b"\xff" * 8):
        file = tmp_path / "model.safetensors"
        file.write_bytes(content)
        with pytest.raises(UserError, match="cannot be read .*download it again"):
            count_numbers(file)


@pytest.mark.parametrize("mended", [False, True])
def test_the_autoencoder_of_an_xl_in_float16_is_in_bfloat16_unless_it_is_mended(
    tmp_path: Path, mended: bool
) -> None:
    folder = build("sdxl", tmp_path)
    config = folder / "vae/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"force_upcast": not mended}))
    prior = DiffusersPrior.load(folder, dtype=torch.float16)
    assert prior.dtype == torch.float16
    assert prior.components.vae.dtype == (torch.float16 if mended else torch.bfloat16)
    assert DiffusersPrior.load(folder).components.vae.dtype == torch.float32, "as is asked for"


def test_the_half_precision_of_a_family_suits_all_its_parts() -> None:
    assert {family.title: family.half for family in families.FAMILIES if family.half != "float16"} == {
        "Stable Diffusion 3 or 3.5": "bfloat16"
    }
    for family in families.FAMILIES:
        t5s = {name for name, kind in family.text_encoders.items() if kind == families.T5}
        assert t5s <= family.overflowing <= family.text_encoders.keys() | family.networks.keys()
