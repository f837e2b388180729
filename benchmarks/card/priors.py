"""Priors with random weights of the true shapes, built on the device; no file, no download.

Stable Diffusion 2.1, the XL and 3.5 medium. DeepFloyd IF stands in `correctness` alone, as a tiny pipeline.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from types import MethodType
from typing import Any

import diffusers
import torch

from benchmarks.card.items import Options
from bridge_nerf.distillation.prior import Condition
from bridge_nerf.priors import flow, unets
from bridge_nerf.priors.components import Components, place
from bridge_nerf.priors.memory import keep_few_activations

SHAPES: dict[str, dict[str, Any]] = {
    "sd-2.1": {"tokens": 77, "width": 1024, "pooled": None, "channels": 4, "prior": unets.StableDiffusion},
    "sdxl": {"tokens": 77, "width": 2048, "pooled": 1280, "channels": 4, "prior": unets.StableDiffusionXL},
    "sd3.5": {"tokens": 333, "width": 4096, "pooled": 2048, "channels": 16, "prior": flow.StableDiffusion3},
}
HALF = {"sd-2.1": torch.float16, "sdxl": torch.float16, "sd3.5": torch.bfloat16}
"""The half precision that each is loaded with on a card."""


def random_prior(
    kind: str,
    options: Options,
    dtype: torch.dtype | None = None,
    checkpointing: bool = False,
    graphs: bool = True,
) -> Any:
    """A prior of one of the SHAPES, as `load_prior` leaves it, whose text encoders are made-up rows.

    Args:
        dtype: Of the network; None is its half precision on a card, and float32 elsewhere.
        graphs: Whether network and encoder are recorded as CUDA graphs, where there are any.
    """
    device, shape = torch.device(options.device), SHAPES[kind]
    dtype = dtype or (HALF[kind] if options.cuda else torch.float32)
    small = 8 if options.small else 1
    with torch.device(device):
        torch.manual_seed(0)
        vae, network = _autoencoder(shape["channels"], small), _network(kind, small)
    # The autoencoder of the XL overflows in float16.
    safe = torch.bfloat16 if kind == "sdxl" and dtype == torch.float16 else dtype
    for part, precision in ((vae, safe), (network, dtype)):
        torch.nn.Module.to(part.eval().requires_grad_(False), precision)
        place(part, device)
    if checkpointing:
        keep_few_activations(vae)
    prior = shape["prior"](Components(network, vae, (), _scheduler(kind), {}, name=kind))
    prior.embed = MethodType(_embed(shape, device, dtype), prior)
    prior.check_prompts = lambda *_: None
    if graphs and options.cuda:
        prior.record_graphs()
    return prior


def _embed(shape: dict[str, Any], device: torch.device, dtype: torch.dtype) -> Any:
    rows: dict[str, Condition] = {}

    def row(prompt: str) -> Condition:
        if prompt not in rows:
            seed = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:4], "big")
            draws = torch.Generator().manual_seed(seed)
            told = torch.randn(1, shape["tokens"], shape["width"], generator=draws).to(device, dtype)
            extra = {}
            if shape["pooled"]:
                extra["pooled"] = torch.randn(1, shape["pooled"], generator=draws).to(device, dtype)
            rows[prompt] = Condition(told, extra)
        return rows[prompt]

    return lambda self, prompts: _cat([row(prompt) for prompt in prompts])


def _cat(rows: Sequence[Condition]) -> Condition:
    return rows[0] if len(rows) == 1 else Condition.cat(rows)


def _autoencoder(channels: int, small: int) -> Any:
    build: Any = diffusers.AutoencoderKL
    return build(
        block_out_channels=tuple(c // small for c in (128, 256, 512, 512)),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=channels,
        norm_num_groups=32 if small == 1 else 16,
    )


def _network(kind: str, small: int) -> Any:
    unet: Any = diffusers.UNet2DConditionModel
    groups = {"norm_num_groups": 32 // small if small > 1 else 32}
    if kind == "sd-2.1":
        return unet(
            sample_size=64 // small,
            block_out_channels=tuple(c // small for c in (320, 640, 1280, 1280)),
            attention_head_dim=(5, 10, 20, 20),
            cross_attention_dim=1024,
            use_linear_projection=True,
            **groups,
        )
    if kind == "sdxl":
        return unet(
            sample_size=128 // small,
            block_out_channels=tuple(c // small for c in (320, 640, 1280)),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
            use_linear_projection=True,
            **groups,
        )
    transformer: Any = diffusers.SD3Transformer2DModel
    return transformer(
        sample_size=128 // small,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=24 // small,
        attention_head_dim=64,
        num_attention_heads=24 // small,
        joint_attention_dim=4096,
        caption_projection_dim=1536 // small,
        pooled_projection_dim=2048,
        pos_embed_max_size=384,
        dual_attention_layers=tuple(range(13 // small)),
        qk_norm="rms_norm",
    )


def _scheduler(kind: str) -> Any:
    if kind == "sd3.5":
        return diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    return diffusers.DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
