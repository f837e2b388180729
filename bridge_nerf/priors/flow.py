"""Flow matching (Lipman et al. 2023; Stable Diffusion 3, Esser et al. 2024) as a diffusion process.

A flow model knows x_u = (1 - u) x + u eps for u from 0 (clean) to 1, and answers the velocity v = eps - x.
That is the variance-preserving process of the rest of this package at another scale: with

    alpha = (1 - u) / r,  sigma = u / r,  r = |(1 - u, u)|       x_t = alpha x + sigma eps = x_u / r
    u = sigma / (alpha + sigma),  r = 1 / (alpha + sigma)        eps = x_u + (1 - u) v

so every objective, weighting and transport serves flow models as it stands.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from bridge_nerf.distillation.prior import Condition
from bridge_nerf.priors.diffusers_prior import DiffusersPrior
from bridge_nerf.priors.families import SD3_TOKENS
from bridge_nerf.priors.text import last_but_one_and_pooled
from bridge_nerf.schedules import expand_like


class StableDiffusion3(DiffusersPrior):
    """Stable Diffusion 3 and 3.5, conditioned on the tokens of two CLIPs and a T5, and a pooled embedding.

    The T5 may be left out of the pipeline; its tokens are zeros then.
    """

    def _alphas_cumprod(self) -> Float[Tensor, "T"]:
        # The scheduler's own levels, from clean to noisy, without u = 1: pure noise says nothing of x.
        u = self.components.scheduler.sigmas.flip(0)[:-1].double()
        return (1 - u) ** 2 / ((1 - u) ** 2 + u**2)

    def eps(
        self, x_t: Float[Tensor, "b c h w"], t: Int[Tensor, "b"], condition: Condition
    ) -> Float[Tensor, "b c h w"]:
        """The noise expected in x_t, in x_t's dtype."""
        condition = condition.to(self.device, self.dtype)
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        u = sigma / (alpha + sigma)
        x_u = x_t / expand_like(alpha + sigma, x_t)
        v = self._call(
            hidden_states=x_u.to(self.dtype),
            # The network counts its levels in thousandths.
            timestep=(self.components.scheduler.config.num_train_timesteps * u).float(),
            encoder_hidden_states=condition.embedding,
            pooled_projections=condition.extra["pooled"],
        )
        return x_u + expand_like(1 - u, x_t) * v.to(x_t.dtype)

    def _read(self, prompts: Sequence[str]) -> Condition:
        clip, clip_2, t5 = self.components.text_encoders
        assert clip is not None and clip_2 is not None
        first, pooled = clip.read(prompts, self.device, last_but_one_and_pooled)
        second, pooled_2 = clip_2.read(prompts, self.device, last_but_one_and_pooled)
        short, width = torch.cat([first, second], dim=-1), self.components.denoiser.config.joint_attention_dim
        short = F.pad(short, (0, width - short.shape[-1]))
        if t5 is None:
            long = short.new_zeros(len(prompts), SD3_TOKENS, width)
        else:
            (long,) = t5.read(prompts, self.device, lambda output: [output[0]])
        return Condition(torch.cat([short, long], dim=1), {"pooled": torch.cat([pooled, pooled_2], dim=-1)})
