"""Reads the parts of a pipeline one by one, and makes sure that no weight stays random."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from transformers.utils import logging

from bridge_nerf.errors import UserError
from bridge_nerf.priors.families import Family
from bridge_nerf.priors.fingerprint import fingerprint
from bridge_nerf.priors.inspection import load_tokenizer, reading
from bridge_nerf.priors.pipeline_files import (
    check_folder,
    choose_weights,
    components_of,
    files_in,
    read_index,
)
from bridge_nerf.priors.text import Text


@dataclass(frozen=True, eq=False)
class Components:
    """The parts of a pipeline, frozen; the networks on their device, the text encoders in main memory.

    The types of Diffusers call every config a plain dict, so the networks are `Any` here.
    """

    denoiser: Any
    """The network that denoises: UNet2DConditionModel, or SD3Transformer2DModel."""
    vae: Any
    """AutoencoderKL or AutoencoderTiny; None for a model of pixels."""
    text_encoders: tuple[Text | None, ...]
    """Text encoders in the order of the family; None for one that was left out."""
    scheduler: Any
    """DDPMScheduler or FlowMatchEulerDiscreteScheduler: only its table and configuration are used."""
    index: Mapping[str, Any]
    """What model_index.json says."""
    name: str = "the prior"
    """Of the pipeline, for messages."""
    fingerprint: str = ""
    """Letters that change with the weights; none for parts that were not loaded from a folder."""


def load_components(folder: Path, device: torch.device, dtype: torch.dtype) -> tuple[Family, Components]:
    """All parts of the pipeline in the folder. UserError where one is missing, damaged or does not fit.

    What would overflow in float16 is in bfloat16 then, which takes the same memory.
    """
    family = check_folder(folder)
    index = read_index(folder)
    scheduler = _load_scheduler(folder, family)
    present = components_of(family, index)
    texts = tuple(
        _load_text(folder, family, name, dtype) if name in present else None for name in family.text_encoders
    )
    networks = {name: _load_model(family, folder, name, dtype) for name in family.networks}
    vae, unet = networks.get("vae"), networks[family.denoiser]
    _check_fit(folder, family, unet, vae, texts)
    encoders = {name: text.encoder for name, text in zip(family.text_encoders, texts, strict=True) if text}
    # Before they go to a card: on ZeroGPU, what has gone there cannot be read until a run has a GPU.
    letters = fingerprint(folder, networks | encoders)
    for network in (unet, vae):
        if network is not None:
            place(network, device)
    return family, Components(unet, vae, texts, scheduler, index, fingerprint=letters)


def place(network: Any, device: torch.device) -> None:
    """Move it to the device, in the order of memory that convolutions are fastest with (measured on a CPU).

    The transformers in a UNet of Diffusers answer in the other order, and each convolution and each sum up to
    the next transformer would turn what it is given: on a CPU their answers are turned once. (On a card group
    norms would turn them back.)
    """
    network.to(device, memory_format=torch.channels_last)
    if device.type == "cpu":
        for module in network.modules():
            if isinstance(module, diffusers.Transformer2DModel):
                module.register_forward_hook(_channels_last)


def _channels_last(module: Any, given: Any, answer: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    # A tuple, as the blocks of a UNet ask for it.
    return (answer[0].contiguous(memory_format=torch.channels_last),)


def _load_scheduler(folder: Path, family: Family) -> Any:
    with reading("scheduler", folder):
        kind: Any = getattr(diffusers, family.scheduler)
        named = kind.load_config(folder / "scheduler").get("_class_name", "")
    if named.startswith("EDM") or ("FlowMatch" in named) != ("FlowMatch" in family.scheduler):
        raise UserError(
            f"the scheduler in {folder} is a {named}, which is not how a {family.title} model was trained: "
            "give the base model"
        )
    with reading("scheduler", folder):
        return kind.from_pretrained(folder / "scheduler")


def _load_text(folder: Path, family: Family, name: str, dtype: torch.dtype) -> Text:
    tokenizer, encoder = load_tokenizer(folder, family, name), _load_model(family, folder, name, dtype)
    positions = getattr(encoder.config, "max_position_embeddings", family.t5_tokens)
    # A tokenizer saved without its length claims to take 10^30 tokens.
    return Text(tokenizer, encoder, min(tokenizer.model_max_length, positions))


def _load_model(family: Family, folder: Path, name: str, dtype: torch.dtype) -> Any:
    variant, _ = choose_weights(files_in(folder), family, name, half=dtype.itemsize < 4)
    if dtype == torch.float16 and name in family.overflowing and not _mended(folder, name):
        dtype = torch.bfloat16
    options = {"dtype": dtype, "variant": variant, "use_safetensors": True}
    if name in family.networks:
        # Without accelerate Diffusers' loader prints a warning unless it is told not to try.
        kind: Any = getattr(diffusers, _class_of(folder, name) or family.networks[name])
        options["low_cpu_mem_usage"] = find_spec("accelerate") is not None
    else:
        kind = getattr(transformers, family.text_encoders[name])
    with reading(name, folder), _quiet():
        model, info = kind.from_pretrained(folder / name, output_loading_info=True, **options)
    if absent := sorted(info["missing_keys"]):
        raise UserError(
            f"the {name} in {folder} lacks {len(absent)} weights, the first is {absent[0]}: get it again"
        )
    if name in family.networks:
        # Diffusers leaves SD3Transformer2DModel in float32, and its own `to` would print a warning.
        torch.nn.Module.to(model, dtype)
    return model.eval().requires_grad_(False)


def _class_of(folder: Path, name: str) -> str | None:
    """A distilled autoencoder may take the place of the family's."""
    named = _config(folder, name).get("_class_name")
    return named if name == "vae" and named == "AutoencoderTiny" else None


def _mended(folder: Path, name: str) -> bool:
    """Whether an autoencoder says that it does not overflow, as those do that were trained not to."""
    return name == "vae" and not _config(folder, name).get("force_upcast", True)


def _config(folder: Path, name: str) -> dict[str, Any]:
    with reading(name, folder):
        return json.loads((folder / name / "config.json").read_text(encoding="utf-8"))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bar and its table of unused weights."""
    bar, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def _check_fit(folder: Path, family: Family, unet: Any, vae: Any, texts: tuple[Text | None, ...]) -> None:
    channels = unet.config.in_channels, 3 if vae is None else vae.config.latent_channels
    if channels[0] != channels[1]:
        raise UserError(
            f"the {family.denoiser} in {folder} takes {channels[0]} channels and its images have "
            f"{channels[1]}: inpainting, depth and upscaling models cannot be priors, give their base model"
        )
    widths = [0 if text is None else text.encoder.config.hidden_size for text in texts]
    # The XL's two encoders stand side by side; elsewhere the last one fills the whole width.
    given = sum(widths) if unet.config.get("addition_embed_type") == "text_time" else widths[-1]
    if given and given != _text_width(unet.config):
        raise UserError(
            f"the {family.denoiser} in {folder} wants text of width {_text_width(unet.config)}, the text "
            f"encoder gives {given}: the parts belong to different models"
        )


def _text_width(config: Any) -> int:
    """Of what the network takes."""
    if "joint_attention_dim" in config:
        return config.joint_attention_dim
    return config.encoder_hid_dim or config.cross_attention_dim
