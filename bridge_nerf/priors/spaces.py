"""Where a prior works: in the latents of an autoencoder, or in pixels."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class Latents:
    """latent = (posterior mean - shift) * scaling of an `AutoencoderKL`."""

    def __init__(self, vae: Any) -> None:
        self.vae = vae
        self.factor: int = 2 ** (len(vae.config.block_out_channels) - 1)
        """Pixels a side of one latent."""

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c lh lw"]:
        """Latents of images in [0, 1], in the images' dtype; differentiable."""
        vae = self.vae
        mean = vae.encode((2 * images - 1).to(vae.device, vae.dtype)).latent_dist.mode().to(images.dtype)
        return (mean - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor

    def decode(self, latents: Float[Tensor, "b c lh lw"]) -> Float[Tensor, "b 3 h w"]:
        """Images, clamped to [0, 1], in the latents' dtype."""
        vae = self.vae
        mean = latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
        return to_images(vae.decode(mean.to(vae.dtype)).sample.to(latents.dtype))


class Pixels:
    """Images in [-1, 1] themselves."""

    factor = 1

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """[0, 1] -> [-1, 1]."""
        return 2 * images - 1

    def decode(self, latents: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """[-1, 1] -> [0, 1], clamped."""
        return to_images(latents)


def to_images(signed: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """From [-1, 1] to [0, 1], clamped."""
    return (signed / 2 + 0.5).clamp(0, 1)


class Preview:
    """A distilled decoder (`AutoencoderTiny`): rough pictures of latents for a small part of the cost."""

    def __init__(self, autoencoder: Any) -> None:
        self.autoencoder = autoencoder

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "b c lh lw"]) -> Float[Tensor, "b 3 h w"]:
        """Images, clamped to [0, 1], of a prior's latents, in their dtype. It knows the scaled latents."""
        sample = self.autoencoder.decode(latents.to(self.autoencoder.device, self.autoencoder.dtype)).sample
        return to_images(sample.to(latents.dtype))
