"""Images straight from a prior: DDIM with classifier-free guidance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge_nerf.distillation.epsilon import Slot, guided
from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.distillation.problem import Problem
from bridge_nerf.distillation.transport import flow


@torch.no_grad()
def ddim(
    prior: ImagePrior,
    prompts: Sequence[str],
    steps: int = 50,
    guidance_scale: float = 4.0,
    generators: Sequence[torch.Generator] | None = None,
) -> Float[Tensor, "n 3 h w"]:
    """One image a prompt, RGB in [0, 1]: deterministic DDIM (Song et al. 2020, eq. 12 with sigma 0) from pure
    noise.

    Guidance is NULL + s (TARGET - NULL); `steps` evenly spaced times from the last to the first; one
    generator an image, so that an image does not depend on the others.
    """
    rngs = generators or [torch.default_generator] * len(prompts)
    noise = [torch.randn(*prior.latent_shape, generator=rng) for rng in rngs]
    times = torch.linspace(prior.schedule.num_timesteps - 1, 0, steps).round().long()
    return prior.decode(_down(prior, torch.stack(noise).to(prior.device), times, prompts, guidance_scale))


@torch.no_grad()
def sdedit(
    prior: ImagePrior,
    images: Float[Tensor, "n 3 h w"],
    prompts: Sequence[str],
    strength: float,
    steps: int = 50,
    guidance_scale: float = 4.0,
    generators: Sequence[torch.Generator] | None = None,
) -> Float[Tensor, "n 3 h w"]:
    """SDEdit (Meng et al. 2022): the images (RGB in [0, 1]) with noise up to t = strength * T, and down by
    DDIM in `strength * steps` steps.
    """
    latents = prior.encode(images.to(prior.device))
    rngs = generators or [torch.default_generator] * len(prompts)
    noise = torch.stack([torch.randn(latents.shape[1:], generator=rng) for rng in rngs]).to(latents)
    top = round(strength * (prior.schedule.num_timesteps - 1))
    times = torch.linspace(top, 0, max(1, round(strength * steps))).round().long()
    x = prior.schedule.add_noise(latents, noise, times[:1].expand(len(latents)).to(latents.device))
    return prior.decode(_down(prior, x, times, prompts, guidance_scale))


def _down(
    prior: ImagePrior,
    x: Float[Tensor, "n c lh lw"],
    times: Int[Tensor, "steps"],
    prompts: Sequence[str],
    guidance_scale: float,
) -> Float[Tensor, "n c lh lw"]:
    """Clean latents, from noise level times[0] through the falling times."""
    problem = Problem(prior, {Slot.TARGET: prior.embed(list(prompts)), Slot.NULL: prior.embed([""])})
    estimate, t = guided(guidance_scale), times[:, None].expand(-1, len(x)).to(prior.device)
    x, _ = flow(problem, estimate, x, t)
    return prior.schedule.x0_from_eps(x, problem.evaluate(estimate, x, t[-1]), t[-1])
