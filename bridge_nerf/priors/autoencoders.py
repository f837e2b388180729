"""Where a prior works: in the latents of an autoencoder, or in pixels."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.errors import UserError
from bridge_nerf.priors.graphs import Graphed

_looks: ContextVar[bool] = ContextVar("looks", default=True)


@contextmanager
def deferred_checks() -> Iterator[None]:
    """While this is entered `encode` does not look at its answers, for on a card every look waits for it.

    For steps, which look at everything once, at their end; one that was not finite is made again outside of
    this, where an autoencoder that overflows in half precision is asked in float32.
    """
    token = _looks.set(False)
    try:
        yield
    finally:
        _looks.reset(token)


SINGLE = "--dtype float32 (bridge-nerf) or --pipeline.prior-dtype float32 (ns-train)"
"""What gives a prior single precision."""


class Latents:
    """latent = (posterior mean - shift) * scaling of an `AutoencoderKL`.

    Args:
        prior: The name of the prior, for messages.
    """

    def __init__(self, vae: Any, prior: str) -> None:
        self.vae, self.prior = vae, prior
        self._as_it_is: Callable[[Tensor], Tensor] = partial(self._encoded, vae)
        self._single: Any = None
        """A copy in float32, once one was needed."""
        self.factor: int = 2 ** (len(self._widths(vae.config)) - 1)
        """Pixels a side of one latent."""

    @staticmethod
    def _widths(config: Any) -> Sequence[int]:
        return config.block_out_channels

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c lh lw"]:
        """Latents of images in [0, 1], in the images' dtype and on their device; differentiable.

        Raises:
            UserError: The autoencoder overflows, in float32 too (not within `deferred_checks`).
        """
        return self._finite(images, self._encoded) if _looks.get() else self._as_it_is(images)

    def decode(self, latents: Float[Tensor, "b c lh lw"]) -> Float[Tensor, "b 3 h w"]:
        """Images, clamped to [0, 1], in the latents' dtype and on their device.

        Raises:
            UserError: The latents are not finite, or the autoencoder overflows, in float32 too.
        """
        return to_images(self._finite(_checked(latents), self._decoded))

    def graph(self, name: str) -> None:
        """Let `encode` replay CUDA graphs, also for its gradient, within `deferred_checks`."""
        self._as_it_is = Graphed(self._as_it_is, name)

    def _encoded(self, vae: Any, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c lh lw"]:
        mean = vae.encode((2 * images - 1).to(vae.device, vae.dtype)).latent_dist.mode().to(images)
        return (mean - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor

    def _decoded(self, vae: Any, latents: Float[Tensor, "b c lh lw"]) -> Float[Tensor, "b 3 h w"]:
        mean = latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
        return vae.decode(mean.to(vae.device, vae.dtype)).sample.to(latents)

    def _finite(self, given: Tensor, through: Callable[[Any, Tensor], Tensor]) -> Tensor:
        """What goes `through` the autoencoder, or through its copy in float32 where it overflows.

        Every call begins anew, so that it does not count what overflowed before a run was resumed.
        """
        answer = through(self.vae, given)
        if torch.isfinite(answer).all() or not torch.isfinite(given).all():
            return answer
        who = f"the autoencoder of {self.prior} ({type(self.vae).__name__})"
        if (dtype := self.vae.dtype).itemsize < 4:
            if self._single is None:
                self._single = deepcopy(self.vae).float()
                said = str(dtype).removeprefix("torch.")
                size = sum(value.numel() * 4 for value in self._single.parameters()) / 2**20
                print(
                    f"{who} overflows in {said}, so it is asked again in float32, which takes {size:.0f} MiB "
                    f"more; {SINGLE} avoids that"
                )
            del answer  # its graph would stay beside the other one
            answer = through(self._single, given)
            if torch.isfinite(answer).all():
                return answer
        raise UserError(
            f"{who} answers numbers that are not finite, in float32 too: lower the learning rate or the "
            f"guidance, or give {SINGLE} where the network is not in float32 yet"
        )


class TinyLatents(Latents):
    """The same latents by a distilled `AutoencoderTiny`: rougher, for a small part of time and memory."""

    @staticmethod
    def _widths(config: Any) -> Sequence[int]:
        return config.encoder_block_out_channels

    # It knows the scaled ones.
    def _encoded(self, vae: Any, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c lh lw"]:
        return vae.encode((2 * images - 1).to(vae.device, vae.dtype)).latents.to(images)

    def _decoded(self, vae: Any, latents: Float[Tensor, "b c lh lw"]) -> Float[Tensor, "b 3 h w"]:
        return vae.decode(latents.to(vae.device, vae.dtype)).sample.to(latents)


class Pixels:
    """Images in [-1, 1] themselves."""

    factor = 1

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """[0, 1] -> [-1, 1], on the images' device."""
        return 2 * images - 1

    def decode(self, latents: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """[-1, 1] -> [0, 1], clamped, on the latents' device.

        Raises:
            UserError: They are not finite.
        """
        return to_images(_checked(latents))


def space_of(vae: Any, prior: str) -> Latents | Pixels:
    """Where a pipeline with this autoencoder, or None, works; `prior` is its name."""
    if vae is None:
        return Pixels()
    kind = TinyLatents if "encoder_block_out_channels" in vae.config else Latents
    return kind(vae, prior)


def to_images(signed: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """From [-1, 1] to [0, 1], clamped."""
    return (signed / 2 + 0.5).clamp(0, 1)


def _checked(latents: Float[Tensor, "b c lh lw"]) -> Float[Tensor, "b c lh lw"]:
    # Clamped or cut to 8 bits they would pass for black and white.
    if not torch.isfinite(latents).all():
        raise UserError(
            "the latents of an image are not finite (NaN) and cannot be decoded: lower the learning rate or "
            f"the guidance, or give {SINGLE}"
        )
    return latents
