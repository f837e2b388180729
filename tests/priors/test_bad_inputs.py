"""Bad inputs, each of which ends in one line that says what was looked for, what was found, and the fix."""

import json
import math
import shutil
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants, errors
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer, T5Tokenizer

from bridge_nerf.errors import UserError
from bridge_nerf.priors import hub, memory
from bridge_nerf.priors.diffusers_prior import DiffusersPrior
from bridge_nerf.priors.pipeline_files import files_in
from bridge_nerf.priors.registry import REMOVED, load_prior
from tests.priors.test_registry import REPO, put_in_cache
from tests.priors.tiny import WORDS, build_tiny_pipeline
from tests.priors.tiny_families import build

VAE = "vae/diffusion_pytorch_model.safetensors"
UNET = "unet/diffusion_pytorch_model.safetensors"
HTTP: Any = SimpleNamespace(headers={}, request=None)
"""A response as the hub's errors want one."""


class Machine:
    """A pipeline's folder to damage, a cache, and a hub that answers as it is told to."""

    def __init__(self, folders: dict[str, Path], tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
        self.folders, self.tmp_path, self.patch = folders, tmp_path, patch
        self.cache = tmp_path / "hub"
        patch.setattr(constants, "HF_HUB_CACHE", str(self.cache))
        patch.setattr(constants, "HF_HUB_OFFLINE", True)

    def folder(self, family: str = "sd") -> Path:
        return shutil.copytree(self.folders[family], self.tmp_path / "prior")

    def load(self, damage: Callable[[Path], object], family: str = "sd") -> None:
        damage(folder := self.folder(family))
        load_prior(str(folder), "cpu")

    def hub(self, answer: Any, token: str | None = None, revision: str | None = None) -> None:
        """Ask a hub that raises the answer, or lists these files."""

        def model_info(*_: object, **__: object) -> SimpleNamespace:
            if isinstance(answer, Exception):
                raise answer
            return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in answer])

        def hf_hub_download(*_: object, **__: object) -> str:
            (index := self.tmp_path / "index.json").write_text('{"_class_name": "FluxPipeline"}')
            return str(index)

        self.patch.setattr(constants, "HF_HUB_OFFLINE", False)
        self.patch.setattr(huggingface_hub.HfApi, "model_info", model_info)
        self.patch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
        self.patch.setattr(huggingface_hub, "get_token", lambda: token)
        load_prior(REPO, "cpu", revision=revision)

    def half_downloaded(self) -> None:
        shutil.rmtree(put_in_cache(self.cache, REPO, self.folders["sd"]) / "unet")
        load_prior(REPO, "cpu")

    def short_of_memory(self, free: int) -> None:
        self.patch.setattr(memory, "free_bytes", lambda device: free)
        load_prior(str(self.folders["sd"]), "cpu")

    def out_of_memory(self) -> None:
        def full(*_: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

        self.patch.setattr(DiffusersPrior, "load", full)
        load_prior(str(self.folders["sd"]), "cpu")

    def ask(self, prompt: str) -> None:
        prior = load_prior(str(self.folders["sd"]), "cpu")
        prior.check_prompts([prompt])


def edit(file: Path, **values: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def cut(file: Path, length: int = 1000) -> None:
    file.write_bytes(file.read_bytes()[:length])


def scaled(folder: Path, value: object) -> None:
    edit(folder / "vae/config.json", scaling_factor=value)


def fill(file: Path, name: str, value: float) -> None:
    weights = load_file(file)
    weights[name].fill_(value)
    save_file(weights, file, metadata={"format": "pt"})


def become_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def drop_a_weight(folder: Path) -> None:
    weights = load_file(folder / UNET)
    del weights["conv_in.weight"]
    save_file(weights, folder / UNET, metadata={"format": "pt"})


def keep_one_shard(folder: Path) -> None:
    (folder / UNET).rename(folder / "unet/diffusion_pytorch_model-00001-of-00002.safetensors")


def only_a_pickle(folder: Path) -> None:
    (folder / UNET).rename(folder / "unet/diffusion_pytorch_model.bin")


def only_sentencepiece(folder: Path) -> None:
    (folder / "tokenizer/tokenizer.json").rename(folder / "tokenizer/spiece.model")


def say_vp(folder: Path, name: str) -> None:
    edit(folder / "scheduler/scheduler_config.json", _class_name=name)


def other_unet(folder: Path, **config: object) -> None:
    from diffusers import UNet2DConditionModel

    usual = UNet2DConditionModel.load_config(folder / "unet")
    UNet2DConditionModel.from_config({**usual, **config}).save_pretrained(folder / "unet")


Bad = tuple[Callable[[Machine], object], list[str]]
BAD: dict[str, Bad] = {
    # A folder
    "empty folder": (lambda m: load_prior(str(m.tmp_path), "cpu"), ["no model_index.json", "found: nothing"]),
    "torn index": (
        lambda m: m.load(lambda f: (f / "model_index.json").write_text("{")),
        ["model_index.json cannot be read", "download the pipeline again"],
    ),
    "an index of lists": (
        lambda m: m.load(lambda f: edit(f / "model_index.json", _class_name=[], text_encoder=3)),
        ["model_index.json cannot be read", "download the pipeline again"],
    ),
    "a config that is a list": (
        lambda m: m.load(lambda f: (f / "vae/config.json").write_text("[]")),
        ["the vae in", "cannot be read", "get it again"],
    ),
    "wrong family": (
        lambda m: m.load(lambda f: edit(f / "model_index.json", _class_name="FluxPipeline")),
        ["is a FluxPipeline", "StableDiffusionPipeline, StableDiffusionXLPipeline", "toybox"],
    ),
    "no config": (lambda m: m.load(lambda f: (f / "vae/config.json").unlink()), ["no vae/config.json"]),
    "torn config": (lambda m: m.load(lambda f: cut(f / "vae/config.json", 9)), ["the vae", "cannot be read"]),
    "empty tokenizer": (
        lambda m: m.load(lambda f: (f / "tokenizer/tokenizer.json").write_bytes(b"")),
        ["tokenizer/tokenizer.json is empty", "download or save"],
    ),
    "index is a folder": (
        lambda m: m.load(lambda f: become_a_folder(f / "model_index.json")),
        ["model_index.json is a folder", "give a file"],
    ),
    "no scheduler": (
        lambda m: m.load(lambda f: shutil.rmtree(f / "scheduler")),
        ["no scheduler/scheduler_config.json"],
    ),
    "EDM scheduler": (
        lambda m: m.load(lambda f: say_vp(f, "EDMEulerScheduler")),
        ["is a EDMEulerScheduler", "give the base model"],
    ),
    "scheduler of no class": (
        lambda m: m.load(
            lambda f: edit(f / "scheduler/scheduler_config.json", _class_name=["DDPMScheduler"])
        ),
        ["the scheduler in", "names no class", "get it again"],
    ),
    "flow scheduler": (
        lambda m: m.load(lambda f: say_vp(f, "FlowMatchEulerDiscreteScheduler")),
        ["is a FlowMatchEulerDiscreteScheduler", "Stable Diffusion 1.x or 2.x"],
    ),
    "betas that are no numbers": (
        lambda m: m.load(lambda f: edit(f / "scheduler/scheduler_config.json", trained_betas=[math.nan] * 9)),
        ["the scheduler in", "no list of betas from 0 to 1", "get it again"],
    ),
    "one beta": (
        lambda m: m.load(lambda f: edit(f / "scheduler/scheduler_config.json", trained_betas=0.1)),
        ["no list of betas from 0 to 1"],
    ),
    "a flow beyond its noise": (
        lambda m: m.load(lambda f: edit(f / "scheduler/scheduler_config.json", shift=-1.0), "sd3"),
        ["no list of sigmas from 0 to 1"],
    ),
    "unknown prediction": (
        lambda m: m.load(lambda f: edit(f / "scheduler/scheduler_config.json", prediction_type="flow")),
        ["the scheduler of", 'unknown prediction type "flow"', "epsilon, v_prediction, sample"],
    ),
    "several prediction types": (
        lambda m: m.load(lambda f: edit(f / "scheduler/scheduler_config.json", prediction_type=["epsilon"])),
        ['unknown prediction type ["epsilon"]', "epsilon, v_prediction, sample"],
    ),
    "diffusion scheduler in a flow model": (
        lambda m: m.load(lambda f: say_vp(f, "DDPMScheduler"), "sd3"),
        ["is a DDPMScheduler", "Stable Diffusion 3 or 3.5"],
    ),
    # Weights
    "no weights": (
        lambda m: m.load(lambda f: (f / UNET).unlink()),
        [f"looked for {UNET}", "found unet/config"],
    ),
    "pickle only": (
        lambda m: m.load(only_a_pickle),
        [f"looked for {UNET}", "save the pipeline again as safe"],
    ),
    "a shard missing": (lambda m: m.load(keep_one_shard), ["weights of the unet, or not all", "00001-of"]),
    "half a file": (lambda m: m.load(lambda f: cut(f / UNET, 200_000)), ["200000 bytes instead of", "again"]),
    "torn header": (lambda m: m.load(lambda f: cut(f / UNET)), ["cannot be read", "download it again"]),
    "a weight missing": (
        lambda m: m.load(drop_a_weight),
        ["lacks 1 weights", "conv_in.weight", "get it again"],
    ),
    "an autoencoder of no numbers": (
        lambda m: m.load(lambda f: fill(f / VAE, "decoder.conv_in.weight", float("nan"))),
        ["the vae in", "not finite (decoder.conv_in.weight)", "get it again"],
    ),
    "an autoencoder of infinite numbers": (
        lambda m: m.load(lambda f: fill(f / VAE, "decoder.conv_in.bias", float("-inf"))),
        ["the vae in", "not finite (decoder.conv_in.bias)", "get it again"],
    ),
    "a quantised part": (
        lambda m: m.load(lambda f: edit(f / "text_encoder/config.json", quantization_config={})),
        ["the text_encoder in", "is quantised", "give its full weights"],
    ),
    **{
        f"a scaling factor of {value}": (
            partial(Machine.load, damage=partial(scaled, value=value)),
            ["the vae in", f"scaling_factor {value!r}, not a number from 0.0001 to 10000", "get it again"],
        )
        for value in (1e30, 0, -1.0, "one", None)
    },
    "a scaling factor that is no number": (
        lambda m: m.load(lambda f: edit(f / "vae/config.json", scaling_factor=float("nan"))),
        ["the vae in", "cannot be read", "get it again"],
    ),
    "a network without bounds": (
        lambda m: m.load(lambda f: edit(f / "unet/config.json", block_out_channels=[10**9, 10**9])),
        ["the unet in", "block_out_channels 1000000000", "more than its weights have: get it again"],
    ),
    "a text encoder without end": (
        lambda m: m.load(lambda f: edit(f / "text_encoder/config.json", num_hidden_layers=10**7)),
        ["the text_encoder in", "num_hidden_layers 10000000", "more than its weights have: get it again"],
    ),
    # Parts that do not fit
    "inpainting model": (
        lambda m: m.load(lambda f: other_unet(f, in_channels=9)),
        ["takes 9 channels", "base"],
    ),
    "other model's text": (
        lambda m: m.load(lambda f: other_unet(f, cross_attention_dim=8)),
        ["wants text of width 8", "encoder gives 16"],
    ),
    "no second encoder": (
        lambda m: m.load(lambda f: shutil.rmtree(f / "text_encoder_2"), "sdxl"),
        ["no text_encoder_2/config.json"],
    ),
    "no side": (
        lambda m: m.load(lambda f: edit(f / "unet/config.json", sample_size=None)),
        ["the unet in", "sample_size None, not a number from 1 to 4096", "get it again"],
    ),
    "sides": (
        lambda m: m.load(lambda f: edit(f / "unet/config.json", sample_size=[8, 8])),
        ["the unet in", "sample_size [8, 8], not a number"],
    ),
    # Tokenizers
    "no tokenizer": (
        lambda m: m.load(lambda f: shutil.rmtree(f / "tokenizer")),
        ["no vocabulary", "tokenizer/vocab.json with tokenizer/merges.txt"],
    ),
    "tokenizer of two tokens": (
        lambda m: m.load(lambda f: CLIPTokenizer().save_pretrained(f / "tokenizer")),
        ["has 2 tokens", "download the tokenizer files"],
    ),
    "a text encoder of words without number": (
        lambda m: m.load(lambda f: edit(f / "text_encoder/config.json", vocab_size="")),
        ["the tokenizer in", "vocab_size is ''", "get it again"],
    ),
    "T5 tokenizer without words": (
        lambda m: m.load(lambda f: T5Tokenizer(extra_ids=0).save_pretrained(f / "tokenizer"), "if"),
        ["the tokenizer in", "tokens, its text encoder 256"],
    ),
    "sentencepiece not installed": (
        lambda m: m.load(only_sentencepiece, "if"),
        ["pip install sentencepiece"],
    ),
    "torn tokenizer": (
        lambda m: m.load(lambda f: cut(f / "tokenizer/tokenizer.json")),
        ["the tokenizer", "cannot be read"],
    ),
    "torn words": (
        lambda m: m.load(lambda f: (f / "words.json").write_text("{")),
        ["words.json cannot be read", "restore it"],
    ),
    "words in UTF-16": (
        lambda m: m.load(lambda f: (f / "words.json").write_text("{}", encoding="utf-16")),
        ["words.json is text in UTF-16"],
    ),
    "no words": (
        lambda m: m.load(lambda f: (f / "words.json").write_text("{}")),
        ["words.json holds no word", "restore it"],
    ),
    "wrong words": (
        lambda m: m.load(lambda f: (f / "words.json").write_text("[1]")),
        ["maps categories"],
    ),
    # Names, devices, revisions
    "unknown name": (
        lambda m: load_prior("toybx", "cpu"),
        ['unknown prior "toybx"', "sdxl, sd3.5, if, a folder"],
    ),
    "no such user": (lambda m: load_prior("~nobody-at-all", "cpu"), ['no folder "~nobody-at-all"']),
    "no such folder": (lambda m: load_prior("./absent", "cpu"), ['no folder "./absent"', "toybox"]),
    "folder of a component": (
        lambda m: load_prior(str(m.folder() / "unet"), "cpu"),
        ["unet has no model_index.json (found: config.json,", "give its top folder", "/prior"],
    ),
    "index of a pipeline": (
        lambda m: load_prior(str(m.folder() / "model_index.json"), "cpu"),
        ["is one file of a pipeline; give its folder", "/prior"],
    ),
    "weights of a component": (
        lambda m: load_prior(str(m.folder() / UNET), "cpu"),
        ["is one file of a pipeline; give its folder", "/prior"],
    ),
    "folder of the cache": (
        lambda m: load_prior(str(put_in_cache(m.cache, REPO, m.folders["sd"]).parents[1]), "cpu"),
        ["found: refs, snapshots", "snapshots/c0ffee"],
    ),
    "revision of a folder": (
        lambda m: load_prior(str(m.folder()), "cpu", revision="v2"),
        ['revision "v2" means nothing', "/prior"],
    ),
    "unknown device": (lambda m: load_prior("toybox", "gpu"), ['unknown device "gpu"', "cuda:1"]),
    "absent device": (lambda m: load_prior("toybox", "cuda:99"), ["no device cuda:99", "cpu"]),
    "revision of the toybox": (
        lambda m: load_prior("toybox", "cpu", revision="v2"),
        ['revision "v2" means nothing for "toybox"'],
    ),
    "revision in the name of the toybox": (
        lambda m: load_prior("toybox@v2", "cpu"),
        ['revision "v2" means nothing for "toybox"'],
    ),
    # The hub
    "offline": (
        lambda m: load_prior(REPO, "cpu"),
        [REPO, "is not in the cache", "HF_HUB_OFFLINE is set: unset"],
    ),
    "removed and offline": (
        lambda m: load_prior("runwayml/stable-diffusion-v1-5", "cpu"),
        [REMOVED["runwayml/stable-diffusion-v1-5"], "HF_HUB_OFFLINE"],
    ),
    "half downloaded": (Machine.half_downloaded, ["incomplete in the cache", "unet/config.json"]),
    "gated, no token": (
        lambda m: m.hub(errors.GatedRepoError("403", response=HTTP)),
        ["no token is set: run `hf auth login`", f"licence at https://huggingface.co/{REPO}"],
    ),
    "gated, not accepted": (
        lambda m: m.hub(errors.GatedRepoError("403", response=HTTP), token="hf_x"),
        ["a token is set", f"accept the licence at https://huggingface.co/{REPO}"],
    ),
    "not found": (
        lambda m: m.hub(errors.RepositoryNotFoundError("404", response=HTTP)),
        ["RepositoryNotFoundError", "check the name"],
    ),
    "no such revision": (
        lambda m: m.hub(errors.RevisionNotFoundError("404", response=HTTP), revision="v9"),
        ['has no revision "v9"', "main branch"],
    ),
    "no network": (
        lambda m: m.hub(ConnectionError("no route\nto host")),
        ["cannot be downloaded (no route)", "go online"],
    ),
    "no pipeline on the hub": (lambda m: m.hub(["model.safetensors"]), ["has no model_index.json", "toybox"]),
    "wrong family on the hub": (lambda m: m.hub(["model_index.json"]), [f"{REPO} is a FluxPipeline"]),
    # Memory
    "not enough memory": (
        lambda m: m.short_of_memory(1000),
        ["not enough memory on cpu", "choose a smaller"],
    ),
    "memory runs out": (Machine.out_of_memory, ["not enough memory on cpu", "(CUDA out of memory.)"]),
    # Prompts
    "empty prompt": (lambda m: m.ask(" "), ["the prompt is empty"]),
    "long prompt": (lambda m: m.ask("apple " * 31), ["has 31 tokens", "takes 30: shorten it"]),
    "unknown word": (lambda m: m.ask("a pinapple"), ['"pinapple"', 'did you mean "pineapple"?']),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {name: build(name, tmp_path_factory.mktemp(name)) for name in ("sdxl", "sd3", "if")}
    return {"sd": build_tiny_pipeline(tmp_path_factory.mktemp("sd"), "v_prediction", words=WORDS), **made}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_input_is_one_line_with_its_fix(
    name: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provoke, parts = BAD[name]
    with pytest.raises(UserError) as caught:
        provoke(Machine(folders, tmp_path, monkeypatch))
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, f"{part!r} is not in {message!r}"


@pytest.mark.skipif(sys.platform != "linux", reason="the files are Linux's")
def test_merges_without_end_are_not_read(folders, tmp_path, monkeypatch) -> None:
    machine = Machine(folders, tmp_path, monkeypatch)
    with pytest.raises(UserError, match=r"merges.txt is empty: download"):
        machine.load(lambda f: (f / "tokenizer/merges.txt").symlink_to("/proc/version"))


def test_there_are_at_least_thirty_of_them() -> None:
    assert len(BAD) >= 30


def test_a_hub_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(hub, "HUB_TIMEOUT_S", 0.3)
        with pytest.raises(UserError, match="cannot be downloaded"):
            load_prior(REPO, "cpu")
        assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    "said",
    [
        {"attn_implementation": "kernels-community/flash-attn2"},
        {"_attn_implementation": "somebody/attention"},
        {"_attn_implementation": {"": "kernels-community/flash-attn2"}},
        {"attn_implementation": "flash_attention_2"},
        {"auto_map": {"AutoModel": "modelling.Model", "AutoConfig": "modelling.Config"}},
        {"text_config": {"attn_implementation": "kernels-community/flash-attn2"}},
    ],
    ids=str,
)
def test_a_text_encoder_brings_no_code_along(folders, tmp_path, monkeypatch, said) -> None:
    """Neither a kernel of the hub nor a module beside the weights."""
    folder = Machine(folders, tmp_path, monkeypatch).folder()
    edit(folder / "text_encoder/config.json", **said)
    (folder / "text_encoder/modelling.py").write_text("raise SystemExit('it was run')")
    kernels = "transformers.modeling_utils.lazy_import_flash_attention"
    monkeypatch.setattr(kernels, lambda *_, **__: pytest.fail("a kernel was looked for"))
    with suppress(UserError):  # where another shape follows from what was said
        prior: Any = load_prior(str(folder), "cpu")
        assert prior.text_encoders[0].encoder.config._attn_implementation == "sdpa"
