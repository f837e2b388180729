"""Reads the parts of a Stable Diffusion pipeline one by one, and makes sure that no weight stays random."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging

from bridge_nerf.errors import UserError
from bridge_nerf.priors.pipeline_files import check_folder, choose_weights, files_in


@dataclass(frozen=True, eq=False)
class Components:
    """The parts of a pipeline, frozen and on their device.

    The types of Diffusers call every config a plain dict, so the networks are `Any` here.
    """

    unet: Any
    """UNet2DConditionModel"""
    vae: Any
    """AutoencoderKL"""
    text_encoder: Any
    """CLIPTextModel"""
    tokenizer: CLIPTokenizer
    alphas_cumprod: Float[Tensor, "T"]
    prediction_type: str
    """What the UNet answers, in the words of Diffusers: "epsilon", "v_prediction" or "sample"."""


def load_components(folder: Path, device: torch.device, dtype: torch.dtype) -> Components:
    """All parts of the pipeline in the folder. UserError where one is missing, damaged or does not fit."""
    check_folder(folder)
    kinds = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
    models = {name: _load_model(kind, folder, name, dtype).to(device) for name, kind in kinds.items()}
    with _reading("scheduler", folder):
        scheduler: Any = DDPMScheduler.from_pretrained(folder / "scheduler")
    with _reading("tokenizer", folder):
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    _check_fit(folder, tokenizer=tokenizer, **models)
    return Components(
        **models,
        tokenizer=tokenizer,
        alphas_cumprod=scheduler.alphas_cumprod.to(device),
        prediction_type=scheduler.config.prediction_type,
    )


def _load_model(kind: Any, folder: Path, name: str, dtype: torch.dtype) -> Any:
    variant, _ = choose_weights(files_in(folder), name, half=dtype.itemsize < 4)
    # Only Diffusers' loader takes the option, and without accelerate anything but False prints a warning.
    options = {} if name == "text_encoder" else {"low_cpu_mem_usage": False}
    options |= {"dtype": dtype, "variant": variant, "use_safetensors": True}
    with _reading(name, folder), _quiet():
        model, info = kind.from_pretrained(folder / name, output_loading_info=True, **options)
    if absent := sorted(info["missing_keys"]):
        raise UserError(
            f"the {name} in {folder} lacks {len(absent)} weights, the first is {absent[0]}: get it again"
        )
    return model.eval().requires_grad_(False)


@contextmanager
def _reading(part: str, folder: Path) -> Iterator[None]:
    """One line for whatever a library raises about a damaged file; they share no exception class."""
    try:
        yield
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"the {part} in {folder} cannot be read ({reason}): get it again") from error


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


def _check_fit(folder: Path, unet: Any, vae: Any, text_encoder: Any, tokenizer: CLIPTokenizer) -> None:
    # Without its files transformers 5 returns a tokenizer of two tokens instead of an error.
    expected = text_encoder.config.vocab_size
    if len(tokenizer) != expected:
        raise UserError(
            f"the tokenizer in {folder} has {len(tokenizer)} tokens, its text encoder {expected}: "
            "download the tokenizer files that belong to it"
        )
    channels = unet.config.in_channels, vae.config.latent_channels
    if channels[0] != channels[1]:
        raise UserError(
            f"the UNet in {folder} takes {channels[0]} channels and the VAE has {channels[1]}: "
            "inpainting and depth models cannot be priors, give their base model"
        )
    width = text_encoder.config.hidden_size
    if unet.config.cross_attention_dim != width:
        raise UserError(
            f"the UNet in {folder} wants text of width {unet.config.cross_attention_dim}, the text encoder "
            f"gives {width}: the parts belong to different models"
        )
