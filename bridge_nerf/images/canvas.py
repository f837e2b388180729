"""Parametrisations of images: latents, pixels, or a small network of the coordinates."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from bridge_nerf.devices import send
from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.errors import UserError
from bridge_nerf.images.spec import Spec
from bridge_nerf.images.transforms import IDENTITY, transformed
from bridge_nerf.priors.image_sizes import image_sizes
from bridge_nerf.priors.memory import check_images
from bridge_nerf.registries import Registry
from bridge_nerf.seeding import generator


class Canvas(nn.Module, ABC):
    """b images, differentiable in the parameters. The prior is a plain object and in no state."""

    def __init__(self, prior: ImagePrior) -> None:
        super().__init__()
        self.prior = prior

    @abstractmethod
    def images(self) -> Float[Tensor, "b 3 h w"]:
        """RGB in [0, 1]."""

    def latents(self, name: str) -> Float[Tensor, "b c lh lw"]:
        """The latents of the images under a transform, for the prior."""
        return self.prior.encode(transformed(name, self.images()))


class LatentCanvas(Canvas):
    """The latents themselves. Latents do not turn with their image (turning their gradient instead leaves
    ripples all over it), so a transformed image goes through decoder and encoder, there and back.
    """

    def __init__(self, prior: ImagePrior, start: Float[Tensor, "b c lh lw"]) -> None:
        super().__init__(prior)
        self.values = nn.Parameter(start.clone())

    def images(self) -> Float[Tensor, "b 3 h w"]:
        return self.prior.decode(self.values)

    def latents(self, name: str) -> Float[Tensor, "b c lh lw"]:
        return self.values if name == IDENTITY else super().latents(name)


class PixelCanvas(Canvas):
    """The logits of the pixels."""

    def __init__(self, prior: ImagePrior, start: Float[Tensor, "b 3 h w"]) -> None:
        super().__init__(prior)
        self.logits = nn.Parameter(start.clamp(0.01, 0.99).logit())

    def images(self) -> Float[Tensor, "b 3 h w"]:
        return self.logits.sigmoid()


class NetworkCanvas(Canvas):
    """RGB as a function of the place: random Fourier features (Tancik et al. 2020) and a small perceptron,
    one for each image.
    """

    FEATURES, WIDTH = 64, 64
    BANDWIDTH = 6.0
    """Standard deviation of the frequencies, in periods a side."""

    def __init__(self, prior: ImagePrior, size: tuple[int, int], seeds: Sequence[int]) -> None:
        super().__init__(prior)
        self.size = size
        rngs = [generator(seed, "canvas") for seed in seeds]
        shapes = [
            (2, self.FEATURES),
            (2 * self.FEATURES, self.WIDTH),
            (self.WIDTH, self.WIDTH),
            (self.WIDTH, 3),
        ]
        drawn = [
            send(torch.stack([torch.randn(shape, generator=draw) for draw in rngs]), prior.device)
            for shape in shapes
        ]
        self.register_buffer("frequencies", 2 * math.pi * self.BANDWIDTH * drawn[0])
        self.weights = nn.ParameterList([nn.Parameter(w * w.shape[1] ** -0.5) for w in drawn[1:]])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros_like(w[:, :1])) for w in drawn[1:]])

    def images(self) -> Float[Tensor, "b 3 h w"]:
        frequencies: Tensor = self.frequencies  # pyright: ignore[reportAssignmentType]
        axes = [torch.linspace(-0.5, 0.5, n, device=frequencies.device) for n in self.size]
        places = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(1, -1, 2)
        waves = places @ frequencies
        x = torch.cat([waves.sin(), waves.cos()], -1)
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x @ weight + bias
            x = F.silu(x) if k + 1 < len(self.weights) else x.sigmoid()
        return x.mT.reshape(len(frequencies), 3, *self.size)


Start = Float[Tensor, "b 3 h w"]
CanvasFactory = Callable[[Spec, ImagePrior, "Start | None"], Canvas]
"""(specification, prior, images to start from or None for noise) -> canvas."""


def _latents(spec: Spec, prior: ImagePrior, start: Start | None) -> Canvas:
    if start is not None:
        return LatentCanvas(prior, prior.encode(send(start, prior.device)).detach())
    factor = prior.image_size // prior.latent_shape[-1]
    shape = (prior.latent_shape[0], *(side // factor for side in spec.size))
    return LatentCanvas(prior, send(_noise(shape, spec), prior.device))


def _pixels(spec: Spec, prior: ImagePrior, start: Start | None) -> Canvas:
    if start is None:
        start = 0.5 + 0.1 * _noise((3, *spec.size), spec)
    return PixelCanvas(prior, send(start, prior.device))


def _network(spec: Spec, prior: ImagePrior, start: Start | None) -> Canvas:
    if start is not None:
        raise UserError('a "network" canvas cannot start from an image; choose "latents" or "pixels"')
    return NetworkCanvas(prior, spec.size, [subject.seed for subject in spec.subjects])


def _noise(shape: tuple[int, ...], spec: Spec) -> Tensor:
    rngs = [generator(subject.seed, "canvas") for subject in spec.subjects]
    return torch.stack([spec.config.initial_scale * torch.randn(shape, generator=rng) for rng in rngs])


CANVASES = Registry[CanvasFactory](
    "canvas", "bridge_nerf.canvases", None, {"latents": _latents, "pixels": _pixels, "network": _network}
)
"""Every canvas by name; other packages add theirs."""


def canvas_for(spec: Spec, prior: ImagePrior, start: Start | None) -> Canvas:
    """The canvas that a specification names, at its start: noise, or images of the size of the specification.

    Raises:
        UserError: There is no such canvas, the prior cannot take that size, or the canvas cannot start from
            an image.
    """
    image_sizes(prior).check(spec.size)
    check_images(prior, spec.size, len(spec.subjects))
    return CANVASES[spec.config.canvas](spec, prior, start)
