"""Every method written out for one sample, number by number, as its paper or code has it."""

from itertools import pairwise

import torch

from bridge_nerf.priors.gaussian_mixture import GaussianMixture

from .worlds import MIXTURE

NOW = GaussianMixture.isotropic({"now": (1.0, 1.0)}, std=0.8)
"""What the adapter knows."""
PROMPTS = {
    "TARGET": "left",
    "SOURCE": "right",
    "NULL": "",
    "NEGATIVE": "high",
    "PROMPT": "left",
    "ADAPTER": "now",
}
REFERENCE = torch.tensor([[1.5, 0.4]], dtype=torch.float64)
STEPS = 6
"""On each way along a probability flow."""
ABAR = MIXTURE.schedule.alphas_cumprod


def alpha(t: int) -> float:
    return ABAR[t].item() ** 0.5


def sigma(t: int) -> float:
    return (1 - ABAR[t].item()) ** 0.5


def eps(slot: str, x: torch.Tensor, t: int) -> torch.Tensor:
    prior = NOW if slot == "ADAPTER" else MIXTURE
    return prior.eps(x, torch.tensor([t]), prior.embed([PROMPTS[slot]]))


def guided(s: float, x: torch.Tensor, t: int, slot: str = "TARGET") -> torch.Tensor:
    return eps("NULL", x, t) + s * (eps(slot, x, t) - eps("NULL", x, t))


def noised(x, n, t):
    return alpha(t) * x + sigma(t) * n


def walk(estimate, x, times):
    """DDIM between the times; the last answer."""
    answer = None
    for a, b in pairwise(times):
        answer = estimate(x, a)
        x = alpha(b) / alpha(a) * x + (sigma(b) - alpha(b) * sigma(a) / alpha(a)) * answer
    return x, answer


def even(t: int, steps: int) -> list[int]:
    return [round(i / steps * t) for i in range(steps + 1)]


def bridge(slot, x, t):
    up, _ = walk(lambda x, t: eps(slot, x, t), x, even(t, STEPS))
    down, _ = walk(lambda x, t: eps("TARGET", x, t), up, even(t, STEPS)[::-1])
    return x - down


def sds(x, t, n):
    return sigma(t) ** 2 * (guided(40, noised(x, n, t), t) - n)


def nfsd(x, t, n):
    x_t = noised(x, n, t)
    c, null = 7.5 * (eps("TARGET", x_t, t) - eps("NULL", x_t, t)), eps("NULL", x_t, t)
    d = null if t < 200 else null - eps("NEGATIVE", x_t, t)
    return sigma(t) ** 2 * (c + d)


def csd(x, t, n):
    x_t = noised(x, n, t)
    return 40 * sigma(t) ** 2 * (eps("TARGET", x_t, t) - eps("NULL", x_t, t))


def asd(x, t, n):
    later = min(t + int(0.1 * (t - 20)), 999)
    source = eps("TARGET", noised(x, n, later), later)
    return sigma(t) ** 2 * (guided(7.5, noised(x, n, t), t) - source)


def vsd(x, t, n):
    x_t = noised(x, n, t)
    return sigma(t) ** 2 * (guided(7.5, x_t, t) - eps("ADAPTER", x_t, t))


def vsd_bridge(x, t, n):
    return sigma(t) ** 2 * bridge("ADAPTER", x, t)


def bridge_ode(x, t, n):
    return bridge("SOURCE", x, t)


def ism(x, t, n):
    before = max(t - 80, 0)
    x_t, previous = walk(lambda x, t: eps("NULL", x, t), x, [*even(before, STEPS - 1), t])
    return sigma(t) / alpha(t) * (guided(7.5, x_t, t) - previous)


def sdi(x, t, n):
    x_t, _ = walk(lambda x, t: guided(-7.5, x, t), x, even(t, STEPS))
    return x - (x_t - sigma(t) * guided(7.5, x_t, t)) / alpha(t)


def dds(x, t, n):
    return guided(7.5, noised(x, n, t), t) - guided(7.5, noised(REFERENCE, n, t), t, "SOURCE")


def pds(x, t, n):
    """The difference of the stochastic latents of x and the reference; x_{t-2} has one noise for both."""
    beta, far = 1 - ABAR[t].item() / ABAR[t - 1].item(), ABAR[t - 2].item()
    deviation = (beta * (1 - far) / sigma(t) ** 2) ** 0.5

    def latent(image, answer):
        x_t, x_far = noised(image, n, t), far**0.5 * image + (1 - far) ** 0.5 * torch.ones_like(image)
        x0 = (x_t - sigma(t) * answer) / alpha(t)
        mean = far**0.5 * beta / sigma(t) ** 2 * x0 + (1 - beta) ** 0.5 * (1 - far) / sigma(t) ** 2 * x_t
        return (x_far - mean) / deviation

    to = latent(x, guided(100, noised(x, n, t), t))
    return to - latent(REFERENCE, guided(100, noised(REFERENCE, n, t), t, "SOURCE"))


def stage_two(x, t, n):
    x_t = noised(x, n, t)
    return 40 * sigma(t) ** 2 * (eps("TARGET", x_t, t) - eps("SOURCE", x_t, t))


LAST_STAGE = {
    "sds": sds,
    "nfsd": nfsd,
    "csd": csd,
    "asd": asd,
    "vsd": vsd,
    "vsd-bridge": vsd_bridge,
    "bridge-ode": bridge_ode,
    "ism": ism,
    "sdi": sdi,
    "dds": dds,
    "pds": pds,
    "bridge": stage_two,
}
"""The gradient of the last stage of every method, at its own numbers."""
