"""The toybox's diffusion model: a small `UNet2DConditionModel` and text encoder trained together on latents.

v-prediction (Salimans & Ho 2022) under Stable Diffusion's schedule, through the denoising loss that adapters
share, with bounded weights: at little noise the loss is mostly what nobody could predict, and at much noise,
where x0's error counted for next to nothing, is decided what stands where and which way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from bridge_nerf.distillation.denoising import denoising_loss
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.schedules import NoiseSchedule
from bridge_nerf.toybox.captions import Scene, caption
from bridge_nerf.toybox.training.autoencoder import LATENT_CHANNELS
from bridge_nerf.toybox.training.fitting import TrainedModule, Visit, half_precision

SNR_BOUNDS = (0.5, 5.0)
"""As in `denoising_loss`."""


def build_unet(
    channels: tuple[int, ...] = (48, 96, 192),
    text_width: int = 128,
    latent_size: int = 16,
    latent_channels: int = LATENT_CHANNELS,
) -> Any:
    """An untrained UNet: convolutions only at the finest level, cross-attention at every coarser one.

    The pooled text is also added to the time embedding, as in DeepFloyd IF: what concerns the whole image,
    a colour or a flaw, is learned sooner that way than by attention alone.
    """
    attended = len(channels) - 1
    return UNet2DConditionModel(
        sample_size=latent_size,
        in_channels=latent_channels,
        out_channels=latent_channels,
        layers_per_block=1,
        block_out_channels=channels,
        down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * attended,
        up_block_types=("CrossAttnUpBlock2D",) * attended + ("UpBlock2D",),
        cross_attention_dim=text_width,
        attention_head_dim=4,
        norm_num_groups=16,
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    )


@torch.no_grad()
def encode(autoencoder: Any, images: UInt8[Tensor, "n 3 h w"], batch: int = 64) -> Float[Tensor, "n c l l"]:
    """Posterior means of all images, unscaled, in half precision."""
    parts = []
    for start in range(0, len(images), batch):
        x = images[start : start + batch].to(autoencoder.device).float() / 127.5 - 1
        with torch.autocast(x.device.type, torch.bfloat16, enabled=half_precision()):
            parts.append(autoencoder.encode(x).latent_dist.mean.half().cpu())
    return torch.cat(parts)


class CaptionedLatents(Dataset):
    """Latents with a fresh caption at each visit."""

    def __init__(self, latents: Float[Tensor, "n c l l"], scenes: tuple[Scene, ...], tokenizer: Any):
        self.latents, self.scenes, self.tokenizer = latents, scenes, tokenizer

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, visit: Visit) -> tuple[Tensor, str]:
        k, r = visit
        return self.latents[k].float(), caption(self.scenes[k], r)

    def collate(self, items: list[tuple[Tensor, str]]) -> list[Tensor]:
        """Latents and token ids [b, tokens], padded to the tokenizer's length as at inference."""
        latents, captions = zip(*items, strict=True)
        ids = self.tokenizer(list(captions), padding="max_length", return_tensors="pt").input_ids
        return [torch.stack(latents), ids]


class DiffusionModule(TrainedModule):
    """Training of UNet and text encoder."""

    def __init__(self, unet: Any, text_encoder: Any, learning_rate: float, max_steps: int):
        adam = partial(torch.optim.AdamW, lr=learning_rate, betas=(0.9, 0.99), weight_decay=0.01)
        super().__init__(adam, max_steps)
        self.unet, self.text_encoder = unet, text_encoder
        self.schedule = NoiseSchedule.scaled_linear()
        if not torch.cuda.is_available():
            # On a CPU the fused attention's backward is the slower one, and so are channels first.
            unet.set_attn_processor(AttnProcessor())
            unet.to(memory_format=torch.channels_last)

    def training_step(self, batch: Sequence[Tensor], _: int) -> Tensor:
        """One denoising loss, t uniform, on latents [b, c, l, l] and token ids [b, tokens]."""
        x, ids = batch
        words = self.text_encoder(ids).last_hidden_state
        t = torch.randint(0, self.schedule.num_timesteps, (len(x),), device=x.device)

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            return self.unet(x_t, t, words).sample.float()

        sample = Sample(x, t, torch.randn_like(x))
        loss = denoising_loss(predict, self.schedule, sample, "v_prediction", SNR_BOUNDS)
        self.log("loss", loss, prog_bar=True)
        return loss
