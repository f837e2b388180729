"""A prior of another package, as one would write it: a mixture of plain images in closed form."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bridge_nerf.errors import UserError
from bridge_nerf.priors.gaussian_mixture import GaussianMixture

SIDE = 4


class PlainImages(GaussianMixture):
    """Red and green images of 4 x 4 pixels; "" is both."""

    kind = "toybox"
    image_size = SIDE
    latent_shape = (3, SIDE, SIDE)
    fingerprint = "plain images"

    def __init__(self, device: torch.device, dtype: torch.dtype | None) -> None:
        colours = {"red": (1.0, -1.0, -1.0), "green": (-1.0, 1.0, -1.0)}
        means = {name: torch.tensor(rgb).repeat_interleave(SIDE * SIDE) for name, rgb in colours.items()}
        mixture = GaussianMixture.isotropic(means, std=0.1)
        super().__init__(mixture.names, mixture.means, mixture.covariances, mixture.weights, mixture.schedule)
        object.__setattr__(self, "device", device)
        object.__setattr__(self, "dtype", dtype or torch.float32)

    def encode(self, images: Tensor) -> Tensor:
        return 2 * images - 1

    def decode(self, latents: Tensor) -> Tensor:
        return (latents / 2 + 0.5).clamp(0, 1)

    def check_prompts(self, prompts: Sequence[str]) -> None:
        self.embed(prompts)


class Strange(PlainImages):
    kind = "oil"


def without_weights(device: torch.device, dtype: torch.dtype | None) -> None:
    raise OSError("no such file\nweights.bin")


def out_of_licence(device: torch.device, dtype: torch.dtype | None) -> None:
    raise UserError("accept the licence first")


def half_a_prior(device: torch.device, dtype: torch.dtype | None) -> object:
    return object()


a_number = 7
