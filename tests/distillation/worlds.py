"""Small worlds in which every answer is known."""

from dataclasses import dataclass, field

import torch

from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.distillation.problem import Problem
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.priors.gaussian_mixture import GaussianMixture
from bridge_nerf.seeding import generator

MIXTURE = GaussianMixture.isotropic({"left": (-2.0, 0.0), "right": (2.0, 0.0), "high": (0.0, 3.0)}, std=0.5)
MIXED_T = torch.tensor([20, 150, 199, 200, 600, 980])


def draws(name: str, *shape: int) -> torch.Tensor:
    """Unit Gaussian numbers that depend on their name only."""
    return torch.randn(*shape, generator=generator(0, name), dtype=torch.float64)


def single(sample: Sample) -> list[Sample]:
    """Its rows, one by one."""
    rows = zip(sample.x.split(1), sample.t.split(1), sample.noise.split(1), strict=True)
    return [Sample(*row) for row in rows]


def problem(prior=MIXTURE, adapter=None, **prompts: str) -> Problem:
    """`problem(TARGET="left", NULL="")`."""
    conditions = {Slot(slot): prior.embed([prompt]) for slot, prompt in prompts.items()}
    return Problem(prior, conditions, adapter)


@dataclass
class Counting:
    """A prior that remembers the batch size of every call."""

    prior: GaussianMixture = field(default_factory=lambda: MIXTURE)
    rows: list[int] = field(default_factory=list)

    @property
    def schedule(self):
        return self.prior.schedule

    def embed(self, prompts):
        return self.prior.embed(prompts)

    def eps(self, x_t, t, condition):
        self.rows.append(len(x_t))
        assert len(condition) == len(t) == len(x_t)
        return self.prior.eps(x_t, t, condition)
