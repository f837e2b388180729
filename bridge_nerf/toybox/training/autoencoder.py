"""The toybox's autoencoder: Stable Diffusion's `AutoencoderKL` in small, factor 4, eight latent channels
(four cannot hold what tells the flaws apart: grain, blocks, full colours).

Loss a pixel: |x - xhat| + 2 (x - xhat)^2 + |grad x - grad xhat| / 2 + beta KL(q(z|x) || N(0, 1)), means over
entries, x in [-1, 1]. One that was grown from an earlier one also loses by the mean square by which its first
channels leave those. The first three fifths of a run see quarter images, four times as many a batch.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from diffusers import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from bridge_nerf.toybox.training.fitting import TrainedModule, Visit

# Diffusers annotates tuples of one entry, and outputs that are not what it returns.
_AutoencoderKL: Any = AutoencoderKL


LATENT_CHANNELS = 8


def build_autoencoder(
    channels: tuple[int, ...] = (16, 32, 64), image_size: int = 64, latent_channels: int = LATENT_CHANNELS
) -> Any:
    """An untrained autoencoder; two halvings, so image_size must be a multiple of 4.

    One normalisation group: several would each forget its channels' mean, and with so few channels that is
    the colour. Residual branches start at zero, which lets a short training reach the colours soon.
    """
    levels = len(channels)
    autoencoder: Any = _AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=1,
        mid_block_add_attention=False,
        sample_size=image_size,
    )
    for module in autoencoder.modules():
        if isinstance(module, ResnetBlock2D):
            torch.nn.init.zeros_(module.conv2.weight)
            assert module.conv2.bias is not None
            torch.nn.init.zeros_(module.conv2.bias)
    return autoencoder


def cropped(x: Float[Tensor, "b c h w"], side: int) -> Float[Tensor, "b c side side"]:
    """The same random window of every image, on the grid of the latents."""
    down, across = (4 * torch.randint(0, (x.shape[-1] - side) // 4 + 1, (2,))).tolist()
    return x[:, :, down : down + side, across : across + side]


def slopes(x: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b c h2 w"], Float[Tensor, "b c h w2"]]:
    """Differences of neighbouring pixels, down and across."""
    return x[:, :, 1:] - x[:, :, :-1], x[:, :, :, 1:] - x[:, :, :, :-1]


class AutoencoderModule(TrainedModule):
    """Training of an autoencoder on image bytes.

    Args:
        earlier: The one it was grown from, whose latents its first channels are to keep: a UNet knows them.
    """

    def __init__(
        self,
        autoencoder: Any,
        learning_rate: float,
        max_steps: int,
        beta: float = 5e-4,
        earlier: Any | None = None,
    ):
        super().__init__(partial(torch.optim.Adam, lr=learning_rate, betas=(0.9, 0.99)), max_steps)
        self.autoencoder, self.beta, self.earlier = autoencoder, beta, earlier

    def training_step(self, batch: UInt8[Tensor, "b 3 h w"], _: int) -> Tensor:
        """One loss on a batch of bytes."""
        x = batch.float() / 127.5 - 1
        if self.global_step < 0.6 * self.max_steps:
            x = cropped(x, x.shape[-1] // 2)
        else:
            x = x[: max(1, len(x) // 4)]
        posterior = self.autoencoder.encode(x).latent_dist
        answer = self.autoencoder.decode(posterior.sample()).sample.float()
        edges = sum((a - b).abs().mean() for a, b in zip(slopes(answer), slopes(x), strict=True))
        divergence = posterior.kl().mean() / posterior.mean[0].numel()
        error, squared = (answer - x).abs().mean(), (answer - x).square().mean()
        self.log_dict({"error": error, "squared": squared, "divergence": divergence}, prog_bar=True)
        loss = error + 2 * squared + 0.5 * edges + self.beta * divergence
        if self.earlier is not None:
            with torch.no_grad():
                known = self.earlier.encode(x).latent_dist.mean
            left = (posterior.mean[:, : known.shape[1]] - known).square().mean()
            self.log("left", left, prog_bar=True)
            loss = loss + left
        return loss


class Images(Dataset):
    """Image bytes."""

    def __init__(self, images: UInt8[Tensor, "n 3 h w"]):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, visit: Visit) -> UInt8[Tensor, "3 h w"]:
        return self.images[visit[0]]


@torch.no_grad()
def standardise(autoencoder: Any, latents: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Give every latent channel mean 0 and variance 1 over these images, without changing any
    reconstruction.

    The map goes into the 1x1 convolutions beside the latents, in place; the answer is `latents` under it.
    Channels of unequal variance would drown in the diffusion's noise at unequal times.
    """
    mean = latents.float().mean((0, 2, 3))
    std = latents.float().std((0, 2, 3))
    inward, outward = autoencoder.quant_conv, autoencoder.post_quant_conv
    assert inward is not None and outward is not None and inward.bias is not None and outward.bias is not None
    outward.bias += outward.weight[:, :, 0, 0] @ mean.to(outward.bias)
    outward.weight *= std.to(outward.weight)[None, :, None, None]
    channels = len(mean)
    inward.weight[:channels] /= std.to(inward.weight)[:, None, None, None]
    inward.bias[:channels] = (inward.bias[:channels] - mean.to(inward.bias)) / std.to(inward.bias)
    inward.bias[channels:] -= 2 * std.log().to(inward.bias)
    return ((latents.float() - mean[:, None, None]) / std[:, None, None]).to(latents.dtype)
