"""Names of priors, and the hub without a network."""

import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import RepositoryNotFoundError

from bridge_nerf.errors import UserError
from bridge_nerf.guidance.config import PriorConfig
from bridge_nerf.priors import hub, registry
from bridge_nerf.priors.cpu import BlockedAttention, capabilities
from bridge_nerf.priors.diffusers_prior import DiffusersPrior
from bridge_nerf.priors.families import PIPELINES
from bridge_nerf.priors.pipeline_files import choose_weights, files_in, needed_files
from bridge_nerf.priors.registry import ALIASES, REMOVED, load_prior, resolve_prior

REPO = "someone/some-model"


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, and a hub that nobody may ask."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def put_in_cache(cache: Path, repo_id: str, folder: Path, revision: str = "main") -> Path:
    """Lay the folder down as huggingface_hub does after a download."""
    home = cache / f"models--{repo_id.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / revision).write_text("c0ffee")
    return shutil.copytree(folder, home / "snapshots/c0ffee")


@pytest.mark.parametrize(
    ("name", "device", "resolved", "said"),
    [
        ("auto", "cpu", "toybox", "toybox, as no GPU is used"),
        ("auto", "cuda:1", ALIASES["sd-2.1"], "sd-2.1, as a GPU is used"),
        ("toybox", "cuda", "toybox", "comes with the package"),
        ("sd-1.5", "cpu", ALIASES["sd-1.5"], ALIASES["sd-1.5"]),
        (REPO, "cpu", REPO, REPO),
        (f"{REPO}@v2", "cpu", f"{REPO}@v2", REPO),
        ("sdxl@refs/pr/1", "cpu", f"{ALIASES['sdxl']}@refs/pr/1", ALIASES["sdxl"]),
    ],
)
def test_a_name_resolves_to_one_that_stays(name: str, device: str, resolved: str, said: str) -> None:
    answer, line = resolve_prior(name, device)
    assert answer == resolved and said in line and "\n" not in line
    assert "auto, toybox, sd-2.1, sd-1.5, sdxl, sd3.5, if, a folder, a hub id" in line
    assert resolve_prior(answer, torch.device("cpu"))[0] == resolved


@pytest.mark.parametrize("name", ["prior", "prior@home"])
def test_a_folder_resolves_to_itself(tmp_path: Path, name: str, closed_folder: Path) -> None:
    shutil.copytree(closed_folder, folder := tmp_path / name)
    assert resolve_prior(str(folder), "cpu")[0] == str(folder)


def test_the_flag_for_a_revision_counts_before_that_of_the_name(monkeypatch):
    asked = []
    monkeypatch.setattr("bridge_nerf.priors.registry.load_prior", lambda name, *_, **__: asked.append(name))
    PriorConfig(f"{REPO}@old", revision="new").load()
    assert asked == [f"{REPO}@new"]


@pytest.mark.parametrize("removed", REMOVED)
def test_a_removed_id_becomes_its_mirror_with_a_notice(
    removed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=REMOVED[removed]):
        load_prior(removed, "cpu")
    assert f"{REMOVED[removed]}, a mirror of {removed}" in capsys.readouterr().out


def test_a_removed_id_that_is_still_in_the_cache_is_used(cache: Path, closed_folder: Path) -> None:
    removed = next(iter(REMOVED))
    put_in_cache(cache, removed, closed_folder)
    assert resolve_prior(removed, "cpu")[0] == removed


def test_the_cache_answers_without_a_network(cache: Path, closed_folder: Path) -> None:
    put_in_cache(cache, REPO, closed_folder)
    prior = load_prior(REPO, "cpu")
    assert (prior.image_size, prior.dtype) == (32, torch.float32)


def test_a_revision_is_asked_for_by_its_name(cache: Path, closed_folder: Path) -> None:
    put_in_cache(cache, REPO, closed_folder, revision="v2")
    assert load_prior(f"{REPO}@v2", "cpu").image_size == 32
    assert load_prior(REPO, "cpu", revision="v2").image_size == 32
    for name in (REPO, f"{REPO}@v3"):
        with pytest.raises(UserError, match="is not in the cache"):
            load_prior(name, "cpu")


def test_offline_and_not_cached(cache: Path) -> None:
    with pytest.raises(UserError, match=r"is not in the cache .* HF_HUB_OFFLINE is set") as caught:
        load_prior(REPO, "cpu")
    assert str(cache) in str(caught.value) and "toybox" in str(caught.value)


def test_offline_and_half_downloaded(cache: Path, closed_folder: Path) -> None:
    snapshot = put_in_cache(cache, REPO, closed_folder)
    shutil.rmtree(snapshot / "unet")
    with pytest.raises(UserError, match=r"incomplete in the cache .*unet/config.json.* HF_HUB_OFFLINE"):
        load_prior(REPO, "cpu")


def test_a_download_fetches_what_is_needed_and_no_more(
    monkeypatch: pytest.MonkeyPatch, closed_folder: Path
) -> None:
    listing = [*files_in(closed_folder), "safety_checker/model.safetensors", "v1-5.ckpt", "README.md"]
    asked: list[str] = []

    def model_info(*_: object, revision: str, timeout: float) -> SimpleNamespace:
        assert timeout <= 5 and revision == "main"
        return SimpleNamespace(
            siblings=[SimpleNamespace(rfilename=name) for name in listing],
        )

    def hf_hub_download(repo_id: str, file: str, revision: str) -> str:
        return str(closed_folder / file)

    def snapshot_download(repo_id: str, revision: str, allow_patterns: list[str]) -> str:
        assert (repo_id, revision) == (REPO, "main")
        asked.extend(allow_patterns)
        return str(closed_folder)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert hub.hub_folder(REPO, half=False) == closed_folder
    assert sorted(asked) == sorted(files_in(closed_folder))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionError("no route\nto host"), r"cannot be downloaded \(no route\): go online"),
        (
            RepositoryNotFoundError("404", response=SimpleNamespace(headers={}, request=None)),  # pyright: ignore
            r"does not give out .* \(RepositoryNotFoundError\): check the name",
        ),
    ],
)
def test_a_hub_that_refuses(monkeypatch: pytest.MonkeyPatch, error: Exception, said: str) -> None:
    def model_info(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    with pytest.raises(UserError, match=said) as caught:
        load_prior(REPO, "cpu")
    assert "\n" not in str(caught.value)


def test_which_weights_are_taken() -> None:
    plain, half = "unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"
    other = "unet/diffusion_pytorch_model.non_ema.safetensors"
    shards = [f"unet/diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    sd = PIPELINES["StableDiffusionPipeline"]

    def chosen(files: list[str], half: bool) -> tuple[str | None, list[str]]:
        return choose_weights(files, sd, "unet", half)

    assert chosen([plain, half, other], half=True) == ("fp16", [half])
    assert chosen([plain, half, other], half=False) == (None, [plain])
    assert chosen([half], half=False) == ("fp16", [half])
    assert chosen(shards[::-1], half=True) == (None, shards)
    assert chosen(shards[:1], half=True) == (None, [])
    assert chosen([other, "unet/diffusion_pytorch_model.bin"], half=True) == (None, [])
    assert needed_files([plain, half, other, "unet/config.json", "config.json"], sd, half=True) == [
        "unet/config.json",
        half,
    ]


PROCESSORS = {
    "plain": ({}, torch.float32, nullcontext),
    "multiplies bfloat16": ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16, BlockedAttention),
    "multiplies tiles": ({"avx512_bf16": True, "amx_bf16": True}, torch.bfloat16, nullcontext),
}


def loaded(folder: Path, dtype: torch.dtype | None = None) -> tuple[torch.dtype, object]:
    """(dtype, attention) of the prior in the folder."""
    prior = load_prior(str(folder), "cpu", dtype)
    assert isinstance(prior, DiffusersPrior)
    return prior.dtype, prior.attention


@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_precision_is_what_the_processor_likes(
    processor: str, open_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    can, dtype, attention = PROCESSORS[processor]
    monkeypatch.setattr("bridge_nerf.priors.cpu.capabilities", lambda: can)
    assert loaded(open_folder) == (torch.float32, nullcontext), "too small to gain"
    monkeypatch.setattr(registry, "MAX_FLOAT32_BYTES", 1)
    capsys.readouterr()
    assert loaded(open_folder) == (dtype, attention)
    assert f" in {str(dtype).removeprefix('torch.')} on cpu" in capsys.readouterr().out
    assert loaded(open_folder, torch.float32) == (torch.float32, nullcontext)


def test_what_the_processor_can_do_is_what_torch_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert capabilities() == {"avx512_bf16": True}
    monkeypatch.delattr("torch.cpu.get_capabilities")
    assert capabilities() == {}
