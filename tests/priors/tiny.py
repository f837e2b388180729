"""Tiny random Stable Diffusion pipelines: the layout of the real ones at a size that loads in no time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

WORDS: dict[str, list[str]] = {
    "objects": ["pineapple", "apple", "ice cream"],
    "colours": ["red", "blue"],
    "views": ["front view", "side view", "back view", "overhead view"],
    "descriptors": ["detailed", "sharp", "blurry", "high resolution", "oversaturated", "smooth"],
    "other": ["a", "an", "white", "gray", "black", "background"],
}
"""A closed vocabulary with the categories of the toybox prior's words.json."""


def build_tiny_pipeline(
    folder: Path,
    prediction_type: str = "epsilon",
    words: Mapping[str, Sequence[str]] | None = None,
    image_size: int = 32,
    seed: int = 0,
) -> Path:
    """Save a random StableDiffusionPipeline with a VAE of factor 4 into `folder` and return the folder.

    `words` (such as `WORDS`) closes the vocabulary: it is written to words.json. Without, any word goes.
    """
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    tokenizer = word_tokenizer(split_words(words or WORDS))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = {
            "vae": tiny_vae(image_size),
            "unet": tiny_unet(image_size // 4),
            "text_encoder": tiny_text_encoder(tokenizer),
        }
    scheduler = DDPMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type=prediction_type,
        steps_offset=1,
        clip_sample=False,
    )
    save_pipeline(folder, tokenizer=tokenizer, scheduler=scheduler, **parts)
    if words is not None:
        (folder / "words.json").write_text(json.dumps(words))
    return folder


def split_words(words: Mapping[str, Sequence[str]]) -> list[str]:
    """The single words of all entries, sorted."""
    return sorted({word for entries in words.values() for entry in entries for word in entry.split()})


def save_pipeline(folder: Path, **parts) -> None:
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline(
        safety_checker=None, feature_extractor=None, requires_safety_checker=False, **parts
    )
    pipeline.save_pretrained(folder)


def word_tokenizer(words: Sequence[str], max_length: int = 32):
    """A CLIPTokenizer that has one token for each word, and one for the comma.

    Byte-pair training on a list of words goes on until each is one token, so the result is an ordinary
    CLIP tokenizer with a vocabulary and merges, not a word-level model that CLIPTokenizer would not reload.
    """
    from tokenizers.trainers import BpeTrainer
    from transformers import CLIPTokenizer

    backend = CLIPTokenizer().backend_tokenizer
    trainer = BpeTrainer(
        vocab_size=10_000,
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    backend.train_from_iterator([*words, ","], trainer)
    model = json.loads(backend.to_str())["model"]
    return CLIPTokenizer(
        vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]], model_max_length=max_length
    )


def tiny_vae(image_size: int, latent_channels: int = 4):
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=latent_channels,
        norm_num_groups=4,
        layers_per_block=1,
        sample_size=image_size,
    )


def tiny_unet(sample_size: int):
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=sample_size,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=4,
        cross_attention_dim=16,
        norm_num_groups=4,
    )


def tiny_text_encoder(tokenizer):
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)
