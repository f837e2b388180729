"""The spaces in which priors work: latents of an autoencoder, or pixels."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from functools import partial
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.errors import UserError
from bridge_nerf.priors.graphs import Graphed

_checks: ContextVar[bool] = ContextVar("checks", default=True)


@contextmanager
def deferred_checks() -> Iterator[None]:
    """Context in which `encode` does not check that its answers are finite: on a card every check waits.

    For steps, which check everything once, at their end; one that was not finite is made again outside of
    this, where an autoencoder that overflows in half precision is asked in float32.
    """
    token = _checks.set(False)
    try:
        yield
    finally:
        _checks.reset(token)


FLOAT32_FLAGS = "--prior.dtype float32 (of ns-train: --pipeline.prior.dtype float32)"


class LatentSpace(ABC):
    """Latents of an autoencoder, scaled as the network was trained on them.

    Args:
        vae: The autoencoder, frozen.
        prior: The name of the prior, for messages.
    """

    widths: ClassVar[str]
    """Entry of the autoencoder's configuration with one number for each level."""

    def __init__(self, vae: Any, prior: str) -> None:
        self.vae, self.prior = vae, prior
        self._unchecked: Callable[[Tensor], Tensor] = partial(self._encoded, vae)
        self._float32_copy: Any = None
        """Made when it is first needed."""
        self.factor: int = 2 ** (len(getattr(vae.config, self.widths)) - 1)
        """Pixels a side of one latent."""

    @final
    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c lh lw"]:
        """Latents of images in [0, 1], in the images' dtype and on their device; differentiable.

        Raises:
            UserError: The autoencoder overflows, in float32 too (not within `deferred_checks`).
        """
        return self._finite(images, self._encoded) if _checks.get() else self._unchecked(images)

    @final
    def decode(self, latents: Float[Tensor, "b c lh lw"]) -> Float[Tensor, "b 3 h w"]:
        """Images, clamped to [0, 1], in the latents' dtype and on their device.

        Raises:
            UserError: The latents are not finite, or the autoencoder overflows, in float32 too.
        """
        return to_images(self._finite(_checked(latents), self._decoded))

    @final
    def record_graphs(self, name: str) -> None:
        """Let `encode` replay CUDA graphs, also for its gradient, within `deferred_checks`."""
        self._unchecked = Graphed(self._unchecked, name)

    @abstractmethod
    def _encoded(self, vae: Any, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c lh lw"]:
        """Scaled latents of images in [0, 1]."""

    @abstractmethod
    def _decoded(self, vae: Any, latents: Float[Tensor, "b c lh lw"]) -> Float[Tensor, "b 3 h w"]:
        """Images in [-1, 1] of scaled latents."""

    def _finite(self, inputs: Tensor, through: Callable[[Any, Tensor], Tensor]) -> Tensor:
        """The answer `through` the autoencoder, or through its copy in float32 where it overflows.

        Every call begins anew, so that a resumed run does not depend on what overflowed before.
        """
        answer = through(self.vae, inputs)
        if torch.isfinite(answer).all() or not torch.isfinite(inputs).all():
            return answer
        subject = f"the autoencoder of {self.prior} ({type(self.vae).__name__})"
        if self.vae.dtype.itemsize < 4:
            if self._float32_copy is None:
                self._float32_copy = self._copied(subject)
            del answer  # its graph would stay beside the other one
            answer = through(self._float32_copy, inputs)
            if torch.isfinite(answer).all():
                return answer
        raise UserError(
            f"{subject} answers numbers that are not finite, in float32 too: lower the learning rate or the "
            f"guidance, or give {FLOAT32_FLAGS} where the network is not in float32 yet"
        )

    def _copied(self, subject: str) -> Any:
        copy = deepcopy(self.vae).float()
        size = sum(value.numel() * 4 for value in copy.parameters()) / 2**20
        print(
            f"{subject} overflows in {str(self.vae.dtype).removeprefix('torch.')}, so it is asked again in "
            f"float32, which takes {size:.0f} MiB more; {FLOAT32_FLAGS} avoids that"
        )
        return copy


@final
class KLLatents(LatentSpace):
    """latent = (posterior mean - shift) * scaling of an `AutoencoderKL`."""

    widths = "block_out_channels"

    def _encoded(self, vae: Any, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c lh lw"]:
        mean = vae.encode((2 * images - 1).to(vae.device, vae.dtype)).latent_dist.mode().to(images)
        return (mean - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor

    def _decoded(self, vae: Any, latents: Float[Tensor, "b c lh lw"]) -> Float[Tensor, "b 3 h w"]:
        mean = latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
        return vae.decode(mean.to(vae.device, vae.dtype)).sample.to(latents)


@final
class TinyLatents(LatentSpace):
    """The same latents by a distilled `AutoencoderTiny`, which answers scaled ones: rougher and cheaper."""

    widths = "encoder_block_out_channels"

    def _encoded(self, vae: Any, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c lh lw"]:
        return vae.encode((2 * images - 1).to(vae.device, vae.dtype)).latents.to(images)

    def _decoded(self, vae: Any, latents: Float[Tensor, "b c lh lw"]) -> Float[Tensor, "b 3 h w"]:
        return vae.decode(latents.to(vae.device, vae.dtype)).sample.to(latents)


@final
class PixelSpace:
    """Images in [-1, 1] themselves."""

    factor = 1

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """[0, 1] -> [-1, 1], on the images' device."""
        return 2 * images - 1

    def decode(self, latents: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """[-1, 1] -> [0, 1], clamped, on the latents' device.

        Raises:
            UserError: The latents are not finite.
        """
        return to_images(_checked(latents))


def latent_space(vae: Any, prior: str) -> LatentSpace | PixelSpace:
    """The space of a pipeline with this autoencoder, or None for pixels; `prior` is its name."""
    if vae is None:
        return PixelSpace()
    return TinyLatents(vae, prior) if TinyLatents.widths in vae.config else KLLatents(vae, prior)


def to_images(signed: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Images in [-1, 1] brought to [0, 1], clamped."""
    return (signed / 2 + 0.5).clamp(0, 1)


def _checked(latents: Float[Tensor, "b c lh lw"]) -> Float[Tensor, "b c lh lw"]:
    # Clamped or cut to 8 bits they would pass for black and white.
    if not torch.isfinite(latents).all():
        raise UserError(
            "the latents of an image are not finite (NaN) and cannot be decoded: lower the learning rate or "
            f"the guidance, or give {FLOAT32_FLAGS}"
        )
    return latents
