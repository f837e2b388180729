"""VSD's second network: the prior with a low-rank correction that learns what the current images look like.

Native instead of `peft`: nothing to install, no wrapper around the prior that would show in its names or its
checkpoints, and any prior with attention can have one, because a correction is added to the answers of its
layers while the adapter asks, and is gone when the prior asks for itself. (`LoRAAttnProcessor` of Diffusers,
which published VSD code relies on, has been empty for years.)
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, distributed, nn

from bridge_nerf.distillation.denoising import PredictionType, denoising_loss
from bridge_nerf.distillation.prior import Condition, DiffusionPrior
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.errors import UserError
from bridge_nerf.priors.precision import ScaledBackward, own_precision
from bridge_nerf.schedules import NoiseSchedule
from bridge_nerf.seeding import generator

LAYERS = re.compile(r"(^|\.)to_(q|k|v|out\.0)$")
"""Names of the layers that are corrected: the projections of attention, as Hu et al. 2021 advise."""
CAMERA_ENTRIES = 12
"""A camera-to-world matrix, 3 by 4."""


@runtime_checkable
class HasNetwork(DiffusionPrior, Protocol):
    """A prior whose network can be reached."""

    @property
    def network(self) -> nn.Module:
        """The network that `eps` asks."""
        ...

    @property
    def prediction_type(self) -> PredictionType:
        """The prediction by which an adapter of the network learns."""
        ...

    def uncompiled(self) -> AbstractContextManager[None]:
        """While entered, `eps` calls the layers of `network` themselves, and so their hooks: no compiled or
        recorded version of them."""
        ...


class LowRank(nn.Module):
    """A term added to a linear layer's answer: up (down x), zero at first (LoRA, Hu et al. 2021)."""

    def __init__(self, layer: nn.Linear, rank: int, rng: torch.Generator) -> None:
        super().__init__()
        down = torch.randn(rank, layer.in_features, generator=rng) / rank
        self.down = nn.Parameter(down.to(layer.weight.device))
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank, device=layer.weight.device))

    def forward(self, x: Float[Tensor, "*b i"], backward: ScaledBackward) -> Float[Tensor, "*b o"]:
        """The correction, computed in float32 and answered in x's dtype."""
        down, up = backward.entering(self.down), backward.entering(self.up)
        return (x.float() @ down.T @ up.T).to(x.dtype)


class CameraEncoder(nn.Module):
    """A shift of every token of the text by a function of the camera, zero at first.

    Args:
        embedding: Embedding of any text; its last dimension and device count.
    """

    def __init__(self, embedding: Float[Tensor, "1 *dims"], rng: torch.Generator) -> None:
        super().__init__()
        width, device = embedding.shape[-1], embedding.device
        hidden = torch.randn(width, CAMERA_ENTRIES, generator=rng) / CAMERA_ENTRIES**0.5
        self.hidden = nn.Parameter(hidden.to(device))
        self.shift = nn.Parameter(torch.zeros(width, width, device=device))

    def forward(self, camera: Float[Tensor, "b 3 4"]) -> Float[Tensor, "b width"]:
        """One shift a camera."""
        return F.silu(camera.flatten(1).to(self.hidden) @ self.hidden.T) @ self.shift.T


class Adapter(nn.Module):
    """The prior with corrected attention: answers ADAPTER (`DiffusionPrior`), learns by `loss`.

    Its parameters and state are the corrections alone, in float32; the prior's weights are used, not owned.
    At first it answers as the prior.

    Args:
        prior: The prior, which stays frozen.
        rank: Rank of each correction.
        camera: True to read a condition's extra["camera"], (b, 3, 4) camera-to-world matrices.
        seed: Seed of the first values.

    Raises:
        UserError: The prior's network has no attention, or the rank is not positive.
    """

    camera: CameraEncoder | None

    def __init__(self, prior: HasNetwork, rank: int = 4, camera: bool = False, seed: int = 0) -> None:
        super().__init__()
        if rank < 1:
            raise UserError(f"an adapter of rank {rank} makes no sense; give 1 or more")
        self.prior, rng = prior, generator(seed, "adapter")
        self.schedule: NoiseSchedule = prior.schedule
        layers = {
            name: layer
            for name, layer in prior.network.named_modules()
            if isinstance(layer, nn.Linear) and LAYERS.search(name)
        }
        if not layers:
            raise UserError("this prior's network has no attention to adapt; choose an objective without vsd")
        corrections = {name.replace(".", "/"): LowRank(layer, rank, rng) for name, layer in layers.items()}
        self.corrections = nn.ModuleDict(corrections)
        self.camera = CameraEncoder(prior.embed([""]).embedding, rng) if camera else None
        self._corrected = list(zip(layers.values(), corrections.values(), strict=True))  # owns no layer

    def embed(self, prompts: Sequence[str]) -> Condition:
        """The prior's own conditions."""
        return self.prior.embed(prompts)

    @own_precision()
    def eps(
        self, x_t: Float[Tensor, "b *dims"], t: Int[Tensor, "b"], condition: Condition
    ) -> Float[Tensor, "b *dims"]:
        """The noise expected in x_t; differentiable with respect to the adapter.

        Raises:
            UserError: The adapter reads cameras and the condition has none.
        """
        backward = ScaledBackward(self._corrected[0][0].weight.dtype)
        seen = self._with_camera(condition, backward)
        with self._corrections_added(backward):
            return backward.leaving(self.prior.eps(backward.entering(x_t), t, seen))

    def loss(self, sample: Sample, condition: Condition) -> Float[Tensor, ""]:
        """Mean squared error on the current images, of v where the prior was trained on v, else of eps."""
        trained = self.prior.prediction_type

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            eps = self.eps(x_t, t, condition)
            return self.schedule.v_from_eps(x_t, eps, t) if trained == "v_prediction" else eps

        return denoising_loss(predict, self.schedule, sample, trained)

    @contextmanager
    def _corrections_added(self, backward: ScaledBackward) -> Iterator[None]:
        handles = [
            layer.register_forward_hook(
                lambda _, arguments, answer, add=correction: answer + add(arguments[0], backward)
            )
            for layer, correction in self._corrected
        ]
        try:
            with self.prior.uncompiled():
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _with_camera(self, condition: Condition, backward: ScaledBackward) -> Condition:
        if self.camera is None:
            return condition
        if "camera" not in condition.extra:
            raise UserError("this adapter reads cameras: put them in the condition's extra['camera']")
        extra = dict(condition.extra)
        shift = backward.entering(self.camera(extra.pop("camera")))
        shift = shift.view(len(shift), *[1] * (condition.embedding.ndim - 2), -1)
        return Condition(condition.embedding + shift, extra)


def average_gradients(module: nn.Module) -> None:
    """Let each gradient become its mean over all processes as soon as it is accumulated, so that modules that
    started alike stay alike. Each process must reach all of the module's parameters at every step.
    """

    def average(parameter: Tensor) -> None:
        assert parameter.grad is not None
        distributed.all_reduce(parameter.grad)
        parameter.grad /= distributed.get_world_size()

    for parameter in module.parameters():
        parameter.register_post_accumulate_grad_hook(average)
