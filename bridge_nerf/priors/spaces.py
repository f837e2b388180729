"""Where a prior works: in the latents of an autoencoder, or in pixels."""

from typing import Any

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


class TinyLatents(Latents):
    """The same latents by a distilled `AutoencoderTiny`: rougher, for a small part of time and memory."""

    def __init__(self, vae: Any) -> None:
        self.vae = vae
        self.factor: int = 2 ** (len(vae.config.encoder_block_out_channels) - 1)

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c lh lw"]:
        """Latents of images in [0, 1], in the images' dtype; differentiable. It knows the scaled ones."""
        return self.vae.encode((2 * images - 1).to(self.vae.device, self.vae.dtype)).latents.to(images.dtype)

    def decode(self, latents: Float[Tensor, "b c lh lw"]) -> Float[Tensor, "b 3 h w"]:
        """Images, clamped to [0, 1], in the latents' dtype."""
        return to_images(self.vae.decode(latents.to(self.vae.dtype)).sample.to(latents.dtype))


class Pixels:
    """Images in [-1, 1] themselves."""

    factor = 1

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """[0, 1] -> [-1, 1]."""
        return 2 * images - 1

    def decode(self, latents: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """[-1, 1] -> [0, 1], clamped."""
        return to_images(latents)


def space_of(vae: Any) -> Latents | Pixels:
    """Where a pipeline with this autoencoder, or None, works."""
    if vae is None:
        return Pixels()
    return TinyLatents(vae) if "encoder_block_out_channels" in vae.config else Latents(vae)


def to_images(signed: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """From [-1, 1] to [0, 1], clamped."""
    return (signed / 2 + 0.5).clamp(0, 1)
