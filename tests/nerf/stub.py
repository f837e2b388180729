"""A prior in closed form for tests: each prompt's images are a point mass at one plain image."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from bridge_nerf.distillation.prior import Condition
from bridge_nerf.errors import UserError
from bridge_nerf.schedules import NoiseSchedule, expand_like

SIZE = 16
LONGEST = 200


class StubPrior:
    """Knows a red ball on white. Latents are 16x16 RGB images; the unconditional image is gray.

    eps(x_t, t | prompt) = (x_t - alpha image) / sigma. A linear layer through which the image goes, the
    identity, gives an adapter something to correct.
    """

    def __init__(self) -> None:
        self.schedule = NoiseSchedule.scaled_linear()
        self.image_size = SIZE
        self.latent_shape = (3, SIZE, SIZE)
        self.device = torch.device("cpu")
        self.dtype = torch.float32
        self.fingerprint = "a ball on white."
        layer = nn.Linear(3, 3, bias=False).requires_grad_(False)
        layer.weight.copy_(torch.eye(3))
        self.network = nn.ModuleDict({"to_q": layer})
        self.prediction_type = "epsilon"
        self.uncompiled = nullcontext
        self.asked: list[str] = []
        self.checked: list[str] = []

    def image(self, prompt: str) -> Float[Tensor, "3 h w"]:
        if not prompt:
            return torch.full(self.latent_shape, 0.5)
        y, x = torch.meshgrid(*[torch.linspace(-1, 1, SIZE)] * 2, indexing="ij")
        ball = (x**2 + y**2 < 0.4).float()
        colour = torch.tensor([0.9, 0.1 if "blurry" in prompt else 0.2, 0.1])[:, None, None]
        return ball * colour + (1 - ball)

    def eps(
        self, x_t: Float[Tensor, "b c h w"], t: Int[Tensor, "b"], condition: Condition
    ) -> Float[Tensor, "b c h w"]:
        alpha, sigma = (expand_like(part, x_t) for part in (self.schedule.alpha(t), self.schedule.sigma(t)))
        image = self.network["to_q"](condition.embedding.movedim(1, -1)).movedim(-1, 1)
        return (x_t - alpha * image) / sigma

    def embed(self, prompts: Sequence[str]) -> Condition:
        self.asked += prompts
        return Condition(torch.stack([self.image(prompt) for prompt in prompts]), says=tuple(prompts))

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c lh lw"]:
        return images

    def decode(self, latents: Float[Tensor, "b c lh lw"]) -> Float[Tensor, "b 3 h w"]:
        return F.interpolate(latents, (SIZE, SIZE)).clamp(0, 1)

    def check_prompts(self, prompts: Sequence[str]) -> None:
        self.checked += prompts
        for prompt in prompts:
            if not prompt.strip():
                raise UserError("the prompt is empty: say what to make")
            if "xylophone" in prompt:
                raise UserError('unknown word "xylophone": this prior knows ball')
            if len(prompt) > LONGEST:
                raise UserError(f"the prompt has {len(prompt)} letters, {LONGEST} are read: shorten it")
