"""Tiny random pipelines of the other families, in the true classes of Diffusers and Transformers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from tests.priors.tiny import WORDS, build_tiny_pipeline, split_words, tiny_vae, word_tokenizer

WIDTH, PROJECTED = 16, 8


def clip(tokenizer: Any, projected: bool) -> Any:
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        projection_dim=PROJECTED,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    kind = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    return kind(config)


def t5() -> tuple[Any, Any]:
    """(tokenizer of letters, encoder whose table is padded to a multiple of 128, as the real one's is)."""
    letters = [(mark, 0.0) for mark in ("<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz ,")]
    tokenizer = transformers.T5Tokenizer(vocab=letters, extra_ids=100, model_max_length=512)
    config = transformers.T5Config(
        vocab_size=-(-len(tokenizer) // 128) * 128,
        d_model=WIDTH * 2,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=2,
    )
    return tokenizer, transformers.T5EncoderModel(config)


def unet(**options: Any) -> Any:
    sizes: dict[str, Any] = {
        "sample_size": 8,
        "block_out_channels": (8, 16),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": 4,
        "norm_num_groups": 4,
    }
    return diffusers.UNet2DConditionModel(**sizes | options)


def ddpm(**options: Any) -> Any:
    usual = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
    return diffusers.DDPMScheduler(**{**usual, "clip_sample": False, **options})


def build_xl(folder: Path) -> Path:
    tokenizer = word_tokenizer(split_words(WORDS))
    diffusers.StableDiffusionXLPipeline(
        vae=tiny_vae(32),
        text_encoder=clip(tokenizer, projected=False),
        text_encoder_2=clip(tokenizer, projected=True),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet(
            cross_attention_dim=2 * WIDTH,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=6 * 4 + PROJECTED,
        ),
        scheduler=ddpm(),
        add_watermarker=False,
    ).save_pretrained(folder)
    return folder


def build_sd3(folder: Path, with_t5: bool = True) -> Path:
    tokenizer = word_tokenizer(split_words(WORDS))
    tokenizer_3, text_encoder_3 = t5() if with_t5 else (None, None)
    vae = tiny_vae(32, latent_channels=16)
    vae.register_to_config(shift_factor=0.06, scaling_factor=1.5)
    diffusers.StableDiffusion3Pipeline(
        transformer=diffusers.SD3Transformer2DModel(
            sample_size=8,
            in_channels=16,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=2 * WIDTH,
            caption_projection_dim=16,
            pooled_projection_dim=2 * PROJECTED,
            pos_embed_max_size=8,
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae,
        text_encoder=clip(tokenizer, projected=True),
        text_encoder_2=clip(tokenizer, projected=True),
        text_encoder_3=text_encoder_3,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        tokenizer_3=tokenizer_3,
    ).save_pretrained(folder)
    return folder


def build_deepfloyd(folder: Path) -> Path:
    tokenizer, text_encoder = t5()
    diffusers.IFPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        unet=unet(
            in_channels=3,
            out_channels=6,
            encoder_hid_dim=2 * WIDTH,
            cross_attention_dim=WIDTH,
            sample_size=16,
        ),
        scheduler=ddpm(beta_schedule="squaredcos_cap_v2", variance_type="learned_range"),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def build_taesd(folder: Path) -> Path:
    """Stable Diffusion with a distilled autoencoder in the place of its own."""
    build_tiny_pipeline(folder, "epsilon")
    pipeline: Any = diffusers.StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    blocks = {"num_encoder_blocks": (1, 1, 1), "num_decoder_blocks": (1, 1, 1)}
    channels = {"encoder_block_out_channels": (8,) * 3, "decoder_block_out_channels": (8,) * 3}
    pipeline.vae = diffusers.AutoencoderTiny(**blocks, **channels)
    shutil.rmtree(folder)
    pipeline.save_pretrained(folder)
    return folder


FAMILIES: dict[str, Callable[[Path], Path]] = {
    "sd-eps": lambda folder: build_tiny_pipeline(folder, "epsilon"),
    "sd-v": lambda folder: build_tiny_pipeline(folder, "v_prediction"),
    "sd-taesd": build_taesd,
    "sdxl": build_xl,
    "sd3": build_sd3,
    "sd3-without-t5": lambda folder: build_sd3(folder, with_t5=False),
    "if": build_deepfloyd,
}
"""Name -> what saves such a pipeline into a folder."""


def build(name: str, folder: Path) -> Path:
    """Save the tiny pipeline of that name, the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FAMILIES[name](folder)
