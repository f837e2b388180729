"""Score distillation in a plain loop: the latents of an image, an objective, an optimiser.

python examples/sds_loop.py --prompt "a red apple" --steps 100
"""

import torch
import tyro
from PIL import Image

from bridge_nerf import Problem, Sample, Slot, distillation_loss, load_prior, sds


def main(prompt: str = "a red apple", steps: int = 100, guidance: float = 5.0, out: str = "apple.png"):
    """Optimise one image with SDS on the toybox prior."""
    prior = load_prior("toybox", "cpu")
    problem = Problem(prior, {Slot.TARGET: prior.embed([prompt]), Slot.NULL: prior.embed([""])})
    objective, rng = sds(guidance), torch.Generator().manual_seed(0)
    x = torch.randn(1, *prior.latent_shape, generator=rng).requires_grad_()
    optimizer = torch.optim.AdamW([x], lr=0.03, betas=(0.9, 0.99), weight_decay=0.0)
    for step in range(steps):
        t = torch.randint(20, 980 - 480 * step // steps, (1,), generator=rng)
        sample = Sample(x, t, torch.randn(x.shape, generator=rng))
        optimizer.zero_grad()
        distillation_loss(objective, problem, sample).loss.backward()
        optimizer.step()
    pixels = prior.decode(x.detach())[0].permute(1, 2, 0)
    Image.fromarray((255 * pixels).round().byte().numpy()).save(out)


if __name__ == "__main__":
    tyro.cli(main)
