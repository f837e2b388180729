"""The paper's idea in the plane: two distributions in closed form, a cloud of points, the way between them.

A world is a Gaussian mixture with three groups of components: "source" is where the points are, "target"
where they should go, "told" is what the method believes of the source. That belief is `source` moved aside,
so how wrong a description is becomes a number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge_nerf.distillation.diagnostics import first_order_error
from bridge_nerf.distillation.epsilon import NOISE, NULL, SOURCE, TARGET, Epsilon, Slot
from bridge_nerf.distillation.problem import Problem
from bridge_nerf.distillation.transport import Jump, flow, levels
from bridge_nerf.priors.gaussian_mixture import GaussianMixture
from bridge_nerf.schedules import expand_like
from bridge_nerf.seeding import generator

POINTS = 160
"""In the cloud."""
SPAN = 4.0
"""The drawing shows [-SPAN, SPAN] in both directions."""
ASIDE = (0.4, -0.9)
"""Where to a wrong description moves the source, in units of "how wrong"."""

BELIEFS: dict[str, Epsilon] = {
    "the noise itself (SDS)": NOISE,
    "any image, the null prompt (CSD)": NULL,
    "a description of the source (this paper)": SOURCE,
}
"""Where a method believes the points to be."""


@dataclass(frozen=True)
class Blob:
    """A Gaussian: middle, standard deviations along its axes, and how they are turned, in degrees."""

    middle: tuple[float, float]
    widths: tuple[float, float]
    turned: float = 0.0


Blobs = tuple[Blob, ...]


def _ring(count: int, radius: float, width: float, middle: tuple[float, float]) -> Blobs:
    angles = [2 * math.pi * k / count for k in range(count)]
    return tuple(
        Blob((middle[0] + radius * math.cos(a), middle[1] + radius * math.sin(a)), (width, width))
        for a in angles
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
    """Where the points are taken."""

    cloud: Float[Tensor, "b 2"]
    one_step: Float[Tensor, "b 2"]
    """By the method's single linear step."""
    paths: Float[Tensor, "n b 2"]
    """By the true bridge: up under the true source, down under the target; the last row is the landing."""

    @property
    def apart(self) -> float:
        """Root mean square distance between the method's landings and the bridge's."""
        return (self.one_step - self.paths[-1]).square().sum(1).mean().sqrt().item()


@dataclass(frozen=True, eq=False)
class Plane:
    """A world, and what a method believes of its source.

    Args:
        world: One of WORLDS.
        belief: One of BELIEFS.
        wrong: How far the description is from the true source, in units of the drawing.
        seed: Of the points and their noise.
    """

    world: str
    belief: str
    wrong: float = 0.0
    seed: int = 0

    @cached_property
    def prior(self) -> GaussianMixture:
        """Every distribution of this plane, as prompts of one prior."""
        source, target = WORLDS[self.world]
        aside = tuple(self.wrong * part for part in ASIDE)
        told = tuple(
            Blob((b.middle[0] + aside[0], b.middle[1] + aside[1]), b.widths, b.turned) for b in source
        )
        return _mixture({"source": source, "target": target, "told": told})

    def prompt(self, *groups: str) -> str:
        """Names all components of the groups."""
        return " ".join(name for name in self.prior.names if name.rstrip("0123456789") in groups)

    def problem(self, source: str) -> Problem:
        """The prior told the target, a source (a group), and for NULL both of the real ones."""
        asked = {
            Slot.TARGET: self.prompt("target"),
            Slot.SOURCE: self.prompt(source),
            Slot.NULL: self.prompt("source", "target"),
        }
        return Problem(self.prior, {slot: self.prior.embed([text]) for slot, text in asked.items()})

    @cached_property
    def cloud(self) -> Float[Tensor, "b 2"]:
        """Points of the true source."""
        rows = self.prior.embed([self.prompt("source")]).expand(POINTS)
        return self.prior.sample(rows, generator(self.seed, "cloud"))

    @cached_property
    def noise(self) -> Float[Tensor, "b 2"]:
        """Unit Gaussian, one for each point."""
        return torch.randn(self.cloud.shape, generator=generator(self.seed, "noise"), dtype=self.cloud.dtype)

    def times(self, level: float) -> Int[Tensor, "b"]:
        """The diffusion time at a fraction of T, for each point."""
        return torch.full((POINTS,), round(level * (self.prior.schedule.num_timesteps - 1)))

    def landings(self, level: float, steps: int) -> Landings:
        """By both ways at a noise level; the bridge in `steps` steps each way."""
        t, schedule = self.times(level), self.prior.schedule
        pull = Jump()(self.problem("told"), TARGET, BELIEFS[self.belief], self.cloud, t, self.noise)
        one_step = self.cloud - expand_like(schedule.sigma(t) / schedule.alpha(t), pull) * pull
        true, up = self.problem("source"), levels(t, steps)
        paths = [self.cloud]
        for estimate, times in ((SOURCE, up), (TARGET, up.flip(0))):
            for pair in pairwise(times):
                paths.append(flow(true, estimate, paths[-1], torch.stack(pair))[0])
        return Landings(self.cloud, one_step, torch.stack(paths))

    def errors(self, at: Sequence[float], steps: int) -> dict[str, list[float]]:
        """Both errors of the paper at some noise levels, means over the cloud.

        The first-order error is that of a method which knows the true source: one linear step in the place of
        two ODEs of `steps` steps. The source mismatch is the mean square of the belief's estimate minus the
        true source's: in expectation what `source_mismatch` measures above the least possible. It says so of
        SDS too, whose source is the noise itself.
        """
        t = torch.cat([self.times(level) for level in at])
        cloud, noise = (part.repeat(len(at), 1) for part in (self.cloud, self.noise))
        told, true = self.problem("told"), self.problem("source")
        x_t = self.prior.schedule.add_noise(cloud, noise, t)
        astray = told.evaluate(BELIEFS[self.belief], x_t, t, noise) - true.evaluate(SOURCE, x_t, t)
        measured = {
            "first-order error": first_order_error(true, TARGET, SOURCE, cloud, t, noise, steps),
            "source mismatch": astray.square().mean(1),
        }
        return {name: values.view(len(at), -1).mean(1).tolist() for name, values in measured.items()}


def _mixture(groups: Mapping[str, Blobs]) -> GaussianMixture:
    """Components named after their group and number; those of a group are equally likely."""
    named = {f"{group}{k}": blob for group, blobs in groups.items() for k, blob in enumerate(blobs)}
    means, covariances = [], []
    for blob in named.values():
        angle = math.radians(blob.turned)
        turn = torch.tensor(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64
        )
        means.append(torch.tensor(blob.middle, dtype=torch.float64))
        covariances.append(turn @ torch.diag(torch.tensor(blob.widths, dtype=torch.float64) ** 2) @ turn.T)
    weights = [1.0 / len(blobs) for blobs in groups.values() for _ in blobs]
    return GaussianMixture(
        tuple(named), torch.stack(means), torch.stack(covariances), torch.tensor(weights, dtype=torch.float64)
    )
