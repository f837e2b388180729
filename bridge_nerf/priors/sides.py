"""How large images may be for a prior, whatever they are made of."""

from typing import Any, NamedTuple

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.errors import UserError
from bridge_nerf.priors.adapter import HasNetwork


class Sides(NamedTuple):
    """Lengths, in pixels, that the sides of an image may have."""

    step: int
    """They are multiples of this, at least one of it: what is left over no network would see."""
    most: int | None = None
    """The longest; None where the network sets no limit."""

    def check(self, size: tuple[int, int]) -> None:
        """Raises UserError for a (height, width) that the prior cannot take."""
        most = f" up to {self.most}" if self.most else ""
        if any(side < self.step or side % self.step or side > (self.most or side) for side in size):
            given = f"{size[1]} x {size[0]}"
            raise UserError(
                f"size {given} does not suit this prior; give multiples of {self.step} pixels{most}"
            )


def sides_of(prior: ImagePrior) -> Sides:
    """What the autoencoder's factor and the network's own halving of the latents ask for.

    Most UNets of Diffusers pad where they cannot halve; those of DeepFloyd IF do not. A transformer cuts
    latents into patches and knows so many places of them.
    """
    factor = prior.image_size // prior.latent_shape[-1]
    config: Any = getattr(prior.components.denoiser, "config", {}) if isinstance(prior, HasNetwork) else {}
    if patch := config.get("patch_size"):
        places = config.get("pos_embed_max_size")
        return Sides(factor * patch, factor * patch * places if places else None)
    simple = any("Simple" in block for block in config.get("down_block_types", ()))
    return Sides(factor * 2 ** (len(config["down_block_types"]) - 1) if simple else factor)
