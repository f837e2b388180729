"""A prior of one's own, in closed form, used by name on the command line.

python examples/own_prior.py image --prompt "red" --prior plain --objective sds --steps 100
"""

import torch
from torch import Tensor

from bridge_nerf import PRIORS, Condition, NoiseSchedule
from bridge_nerf.cli import main

COLOURS = {"red": (1, -1, -1, 0.1), "green": (-1, 1, -1, 0.1), "blue": (-1, -1, 1, 0.1)}


class PlainImages:
    """An `ImagePrior` of images of one colour: pixels are N(colour, 0.1² I), or N(0, I) without a colour."""

    kind, fingerprint, image_size, latent_shape = "toybox", "plain", 32, (3, 32, 32)

    def __init__(self, device: torch.device, dtype: torch.dtype | None) -> None:
        self.device, self.dtype = device, dtype or torch.float32
        self.schedule = NoiseSchedule.scaled_linear()

    def embed(self, prompts):
        rows = [next((COLOURS[word] for word in COLOURS if word in text), (0, 0, 0, 1)) for text in prompts]
        return Condition(torch.tensor(rows, dtype=self.dtype, device=self.device), says=tuple(prompts))

    def eps(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        mean, std = condition.embedding[:, :, None, None].split((3, 1), dim=1)
        alpha, sigma = (f(t).view(-1, 1, 1, 1) for f in (self.schedule.alpha, self.schedule.sigma))
        return sigma * (x_t - alpha * mean) / (alpha**2 * std**2 + sigma**2)

    encode = staticmethod(lambda images: 2 * images - 1)
    decode = staticmethod(lambda latents: (latents / 2 + 0.5).clamp(0, 1))
    check_prompts = embed  # takes every text


PRIORS.register("plain", PlainImages)
if __name__ == "__main__":
    main()
