"""Pictures straight from a prior: DDIM with classifier-free guidance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.distillation.epsilon import Slot, guided
from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.distillation.problem import Problem


@torch.no_grad()
def ddim(
    prior: ImagePrior,
    prompts: Sequence[str],
    steps: int = 50,
    guidance_scale: float = 4.0,
    generators: Sequence[torch.Generator] | None = None,
) -> Float[Tensor, "n 3 h w"]:
    """One picture a prompt, RGB in [0, 1]: deterministic DDIM (Song et al. 2021, eq. 12 with eta 0) from pure
    noise.

    Guidance is NULL + s (TARGET - NULL); `steps` evenly spaced times from the last to the first; one
    generator a picture, so that a picture does not depend on the others asked for.
    """
    schedule = prior.schedule
    problem = Problem(prior, {Slot.TARGET: prior.embed(list(prompts)), Slot.NULL: prior.embed([""])})
    estimate = guided(guidance_scale)
    draws = generators or [torch.default_generator] * len(prompts)
    noise = [torch.randn(*prior.latent_shape, generator=draw) for draw in draws]
    x = torch.stack(noise).to(prior.device)
    times = torch.linspace(schedule.num_timesteps - 1, 0, steps).round().long()
    for k, now in enumerate(times):
        t = now.expand(len(x)).to(prior.device)
        eps = problem.evaluate(estimate, x, t)
        x = schedule.x0_from_eps(x, eps, t)
        if k + 1 < steps:
            x = schedule.add_noise(x, eps, times[k + 1].expand(len(x)).to(prior.device))
    return prior.decode(x)
