"""Which weights a prior has, whatever its name: names stay when a prior is trained anew."""

from __future__ import annotations

import hashlib

import torch

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.seeding import generator

ENTRIES, DIGITS = 16, 2
"""Few and coarse: the order in which threads add must not change them."""


@torch.no_grad()
def fingerprint(prior: ImagePrior) -> str:
    """Eight letters that change with the weights, and with their precision: a hash of what the prior answers
    at one point."""
    x_t = torch.randn(1, *prior.latent_shape, generator=generator(0, "fingerprint")).to(prior.device)
    t = torch.full((1,), prior.schedule.num_timesteps // 2, device=prior.device)
    answer = prior.eps(x_t, t, prior.embed([""])).flatten()[:ENTRIES]
    return hashlib.sha256(str([round(value, DIGITS) for value in answer.tolist()]).encode()).hexdigest()[:8]
