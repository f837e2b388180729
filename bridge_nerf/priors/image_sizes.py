"""Sizes of images that a prior can take, whatever the images are made of."""

from typing import Any, NamedTuple

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.errors import UserError
from bridge_nerf.priors.adapter import HasNetwork

LARGEST = 16
"""Longest side that a network without a limit of its own is asked for, in sides that it was trained on: far
beyond what it can draw, and before its attention takes hours a step."""


class ImageSizes(NamedTuple):
    """Lengths, in pixels, that the sides of an image may have."""

    multiple_of: int
    """The shortest side; every side is a multiple of it, as no network would see the rest."""
    max_side: int | None = None
    """The longest side; None where the network sets no limit."""

    def check(self, size: tuple[int, int]) -> None:
        """Raise UserError for a (height, width) that the prior cannot take."""
        step, limit = self.multiple_of, f" up to {self.max_side}" if self.max_side else ""
        if any(side < step or side % step or side > (self.max_side or side) for side in size):
            raise UserError(
                f"size {size[1]} x {size[0]} does not suit this prior; give multiples of {step} pixels{limit}"
            )


def image_sizes(prior: ImagePrior) -> ImageSizes:
    """The sizes that the autoencoder's factor and the network's own halving of the latents allow.

    Most UNets of Diffusers pad where they cannot halve; those of DeepFloyd IF do not. A transformer cuts
    latents into patches and knows a limited number of places for them.
    """
    factor = prior.image_size // prior.latent_shape[-1]
    config: Any = getattr(prior.network, "config", {}) if isinstance(prior, HasNetwork) else {}
    if patch := config.get("patch_size"):
        places = config.get("pos_embed_max_size")
        return ImageSizes(factor * patch, factor * patch * places if places else None)
    longest = prior.image_size * LARGEST
    simple = any("Simple" in block for block in config.get("down_block_types", ()))
    return ImageSizes(factor * 2 ** (len(config["down_block_types"]) - 1) if simple else factor, longest)
