"""The paper's idea in the plane: two distributions in closed form, a cloud of points, the way between them.

A world is a Gaussian mixture with three groups of components: "source" is where the points are, "target"
where they should go, "described" is the description of the source that an objective uses: the source,
shifted, so that the error of a description is a number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge_nerf.distillation.diagnostics import first_order_error
from bridge_nerf.distillation.epsilon import NOISE, NULL, SOURCE, TARGET, Epsilon, Slot
from bridge_nerf.distillation.problem import Problem
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.distillation.transport import Jump, flow, levels
from bridge_nerf.priors.gaussian_mixture import GaussianMixture
from bridge_nerf.schedules import expand_like
from bridge_nerf.seeding import generator

POINTS = 160
"""Number of points."""
SHIFT = (0.4, -0.9)
"""Direction in which a wrong description shifts the source."""

BELIEFS: dict[str, Epsilon] = {
    "the noise itself (SDS)": NOISE,
    "any image, the null prompt (CSD)": NULL,
    "a description of the source (this paper)": SOURCE,
}
"""Label -> the estimate that an objective uses in place of the source's."""


@dataclass(frozen=True)
class Blob:
    """A Gaussian: mean, standard deviations along its axes, and their rotation in degrees."""

    mean: tuple[float, float]
    widths: tuple[float, float]
    rotation: float = 0.0


Blobs = tuple[Blob, ...]


def _ring(count: int, radius: float, width: float, mean: tuple[float, float]) -> Blobs:
    angles = [2 * math.pi * k / count for k in range(count)]
    return tuple(
        Blob((mean[0] + radius * math.cos(a), mean[1] + radius * math.sin(a)), (width, width)) for a in angles
    )


WORLDS: dict[str, tuple[Blobs, Blobs]] = {
    "one blob to two": (
        (Blob((-2.2, 0.0), (0.45, 0.75)),),
        (Blob((1.7, 1.7), (0.55, 0.3), 30), Blob((1.9, -1.5), (0.3, 0.6))),
    ),
    "a stroke to a ring": (
        (Blob((-2.4, 0.2), (0.25, 1.1), -15),),
        _ring(10, 1.25, 0.2, (1.7, 0.0)),
    ),
    "overlapping": (
        (Blob((-0.7, 0.4), (0.9, 0.5), 40),),
        (Blob((0.6, -0.4), (0.5, 0.9), 40), Blob((1.6, 1.8), (0.3, 0.3))),
    ),
}
"""Name -> (source, target)."""


@dataclass(frozen=True, eq=False)
class Landings:
    """The points before and after."""

    cloud: Float[Tensor, "b 2"]
    """The points of the source."""
    one_step: Float[Tensor, "b 2"]
    """The points after the objective's single linear step."""
    paths: Float[Tensor, "n b 2"]
    """Paths of the true bridge: up under the true source, down under the target; the last row is the end."""

    @property
    def distance(self) -> float:
        """Root mean square distance between the ends of the step and of the bridge."""
        return (self.one_step - self.paths[-1]).square().sum(1).mean().sqrt().item()


@dataclass(frozen=True, eq=False)
class Plane:
    """A world, and the belief of an objective about its source.

    Args:
        world: One of WORLDS.
        belief: One of BELIEFS.
        wrong: Factor on SHIFT: the distance of the description from the true source.
        seed: Seed of the points and their noise.
    """

    world: str
    belief: str
    wrong: float = 0.0
    seed: int = 0

    @cached_property
    def prior(self) -> GaussianMixture:
        """Every distribution of this plane, as prompts of one prior."""
        source, target = WORLDS[self.world]
        dx, dy = (self.wrong * part for part in SHIFT)
        described = tuple(replace(blob, mean=(blob.mean[0] + dx, blob.mean[1] + dy)) for blob in source)
        return _mixture({"source": source, "target": target, "described": described})

    def prompt(self, *groups: str) -> str:
        """The prompt that names all components of the groups."""
        return " ".join(name for name in self.prior.names if name.rstrip("0123456789") in groups)

    def problem(self, source: str) -> Problem:
        """The problem with the target, a source (a group), and for NULL both of the real ones."""
        prompts = {
            Slot.TARGET: self.prompt("target"),
            Slot.SOURCE: self.prompt(source),
            Slot.NULL: self.prompt("source", "target"),
        }
        return Problem(self.prior, {slot: self.prior.embed([text]) for slot, text in prompts.items()})

    @cached_property
    def cloud(self) -> Float[Tensor, "b 2"]:
        """Points of the true source."""
        rows = self.prior.embed([self.prompt("source")]).expand(POINTS)
        return self.prior.sample(rows, generator(self.seed, "cloud"))

    @cached_property
    def noise(self) -> Float[Tensor, "b 2"]:
        """Standard normal noise, one for each point."""
        return torch.randn(self.cloud.shape, generator=generator(self.seed, "noise"), dtype=self.cloud.dtype)

    def times(self, level: float) -> Int[Tensor, "b"]:
        """The diffusion time at a fraction of T, for each point."""
        return torch.full((POINTS,), round(level * (self.prior.schedule.num_timesteps - 1)))

    def landings(self, level: float, steps: int) -> Landings:
        """The points after both ways at a noise level; the bridge takes `steps` steps up and as many down."""
        t, schedule = self.times(level), self.prior.schedule
        sample = Sample(self.cloud, t, self.noise)
        pull = Jump()(self.problem("described"), TARGET, BELIEFS[self.belief], sample)
        one_step = self.cloud - expand_like(schedule.sigma(t) / schedule.alpha(t), pull) * pull
        true, up = self.problem("source"), levels(t, steps)
        paths = [self.cloud]
        for estimate, times in ((SOURCE, up), (TARGET, up.flip(0))):
            for pair in pairwise(times):
                paths.append(flow(true, estimate, paths[-1], torch.stack(pair))[0])
        return Landings(self.cloud, one_step, torch.stack(paths))

    def errors(self, at: Sequence[float], steps: int) -> dict[str, list[float]]:
        """Both errors of the paper at some noise levels, means over the cloud.

        The first-order error is that of an objective which knows the true source: one linear step instead of
        two ODEs of `steps` steps. The source mismatch is the mean square of the belief's estimate minus the
        true source's: in expectation what `source_mismatch` measures above the least possible, also for SDS,
        whose source is the noise itself.
        """
        t = torch.cat([self.times(level) for level in at])
        cloud, noise = (part.repeat(len(at), 1) for part in (self.cloud, self.noise))
        described, true = self.problem("described"), self.problem("source")
        sample = Sample(cloud, t, noise)
        x_t = sample.x_t(self.prior.schedule)
        mismatch = described.evaluate(BELIEFS[self.belief], x_t, t, noise) - true.evaluate(SOURCE, x_t, t)
        measured = {
            "first-order error": first_order_error(true, TARGET, SOURCE, sample, steps),
            "source mismatch": mismatch.square().mean(1),
        }
        return {name: values.view(len(at), -1).mean(1).tolist() for name, values in measured.items()}


def _mixture(groups: Mapping[str, Blobs]) -> GaussianMixture:
    """Components named after their group and number; those of a group are equally likely."""
    named = {f"{group}{k}": blob for group, blobs in groups.items() for k, blob in enumerate(blobs)}
    means, widths = (
        torch.tensor([getattr(blob, name) for blob in named.values()], dtype=torch.float64)
        for name in ("mean", "widths")
    )
    turns = [math.radians(blob.rotation) for blob in named.values()]
    axes = torch.tensor(
        [[[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]] for a in turns], dtype=torch.float64
    )
    covariances = axes @ torch.diag_embed(widths**2) @ axes.mT
    weights = [1.0 / len(blobs) for blobs in groups.values() for _ in blobs]
    return GaussianMixture(tuple(named), means, covariances, torch.tensor(weights, dtype=torch.float64))
