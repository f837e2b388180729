"""One step of score distillation, of images and of scenes alike: the prior is evaluated, losses are made and
checked.

Nothing here is an `nn.Module`: neither the prior nor its schedules can end up in a checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.annealing import TimestepRange
from bridge_nerf.distillation.diagnostics import measure
from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.distillation.inspection import Inspection, inspect
from bridge_nerf.distillation.loss import NonFinite, distillation_loss, explained, read
from bridge_nerf.distillation.perp_neg import PerpNeg
from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.distillation.problem import Problem
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.distillation.stages import Active
from bridge_nerf.errors import UserError
from bridge_nerf.guidance.config import GuidanceConfig
from bridge_nerf.guidance.prompts import PromptTable
from bridge_nerf.guidance.rng import StepDraws
from bridge_nerf.priors.adapter import Adapter, HasNetwork
from bridge_nerf.priors.autoencoders import FLOAT32_FLAGS, deferred_checks

DISTILLATION, ADAPTER = "distillation", "adapter"
"""Names of the losses."""
ALL_TIMES = TimestepRange(0.0, 1.0)
"""Range of the times that the adapter learns at (ProlificDreamer, Wang et al. 2023, eq. 9)."""


class Step(NamedTuple):
    """The losses of a step, all finite, and the numbers to log."""

    losses: dict[str, Float[Tensor, ""]]
    """"distillation", a sum over the rows, and "adapter" where one learns."""
    numbers: dict[str, float]
    """Losses, metrics and whatever was read along, by name."""


class _Attempt(NamedTuple):
    losses: dict[str, Float[Tensor, ""]]
    metrics: dict[str, Float[Tensor, ""]]
    why: Callable[[], NonFinite]


class Distiller:
    """Turns latents into losses.

    Args:
        name: Name of the prior, for messages.
        table: Conditions of the prompts.
        draws: Times and noise of each step.
        adapter: Second network that learns the current images, for objectives with the slot ADAPTER.
        reference: The clean latents that an edit starts from.

    Raises:
        UserError: The configuration is impossible with the objective.
    """

    def __init__(
        self,
        prior: ImagePrior,
        name: str,
        objective: str,
        config: GuidanceConfig,
        table: PromptTable,
        draws: StepDraws,
        adapter: Adapter | None = None,
        reference: Float[Tensor, "n *dims"] | None = None,
    ) -> None:
        self.prior, self.prior_name, self.draws = prior, name, draws
        self.adapter, self.reference = adapter, reference
        self.objective_name = objective
        self.apply(config, table)

    def apply(self, config: GuidanceConfig, table: PromptTable) -> None:
        """Go on with other words or numbers."""
        self.config, self.table, self.stages = config, table, config.stages(self.objective_name)

    def active(self, step: int) -> Active:
        """The objective that acts at this absolute step."""
        return self.config.active(self.stages, step)

    def step(
        self,
        latents: Callable[[], Float[Tensor, "n *dims"]],
        step: int,
        rows: Sequence[int] | None = None,
        camera: Float[Tensor, "n 3 4"] | None = None,
        images: Float[Tensor, "b 3 h w"] | None = None,
        beside: Mapping[str, Float[Tensor, ""]] | None = None,
    ) -> Step:
        """The losses at this absolute step; times and noise are a function of (seed, step).

        All numbers are read at once, for on a card each look waits for all work before it.

        Args:
            latents: Encodes what is optimised; called again, with checks of the autoencoder in place, where a
                loss is not finite: one that overflowed in half precision goes on in float32 then.
            rows: Rows of the prompt table, one a sample; None is all of them.
            camera: Camera-to-world matrices, for the adapter.
            images: Those that the latents are of, to tell a render that is not finite.
            beside: Further losses and numbers, read and checked along.

        Raises:
            UserError: A loss is not finite; the message names the step and the likely cause.
        """
        beside = beside or {}
        with deferred_checks():
            losses, metrics, _ = self._attempt(latents, step, rows, camera)
        numbers = read({**losses, **metrics, **beside})
        if not all(math.isfinite(numbers[name]) for name in (*losses, *beside)):
            losses, metrics, why = self._attempt(latents, step, rows, camera)
            numbers = read({**losses, **metrics, **beside})
            self._check(numbers, (*losses, *beside), why, images, step)
        return Step(losses, {"stage": self.active(step).index + 1, **numbers})

    def _attempt(
        self,
        latents: Callable[[], Float[Tensor, "n *dims"]],
        step: int,
        rows: Sequence[int] | None,
        camera: Float[Tensor, "n 3 4"] | None,
    ) -> _Attempt:
        x, active, T = latents(), self.active(step), self.prior.schedule.num_timesteps
        problem = self._problem(rows, camera)
        sample = self.draws.sample(x, step, active.times or self.config.times, T)
        distilled = distillation_loss(active.objective, problem, sample, active.weight)
        losses = {DISTILLATION: distilled.loss}
        metrics = {"t": sample.t.float().mean(), **distilled.metrics}
        still = replace(sample, x=x.detach())
        if self.config.errors_every and step % self.config.errors_every == 0:
            metrics |= measure(problem, still, self.config.objective.ode_steps)
        if self.adapter is not None:
            own = self.draws.sample(still.x, step, ALL_TIMES, T, ADAPTER)
            condition = problem.conditions[Slot.ADAPTER].expand(len(x))
            losses[ADAPTER] = self.adapter.loss(own, condition)
        return _Attempt(losses, metrics, distilled.why)

    def _problem(self, rows: Sequence[int] | None, camera: Float[Tensor, "n 3 4"] | None) -> Problem:
        conditions = self.table.conditions(rows)
        if camera is not None and self.adapter is not None:
            alike = conditions[Slot.ADAPTER].expand(len(camera))
            conditions[Slot.ADAPTER] = alike.telling(camera=camera)
        filters = (PerpNeg(self.config.perp_neg),) if self.config.perp_neg else ()
        return Problem(self.prior, conditions, self.adapter, self.reference, filters)

    @torch.no_grad()
    def denoising_errors(
        self, x: Float[Tensor, "n *dims"], rows: Sequence[int], t: float, noise: Float[Tensor, "n *dims"]
    ) -> Float[Tensor, "n"]:
        """Mean squared error of eps at one time for each latent, under TARGET's texts: the better a text
        describes an image, the smaller (Diffusion Classifier, Li et al. 2023, eq. 4).

        Args:
            rows: Rows of the prompt table, one a sample.
            t: Time, as a fraction of T.
        """
        sample = self._at(t, x, noise)
        answer = self.prior.eps(
            sample.x_t(self.prior.schedule), sample.t, self.table.conditions(rows)[Slot.TARGET].expand(len(x))
        )
        return (answer - noise).square().flatten(1).mean(1)

    def inspect(
        self,
        x: Float[Tensor, "n *dims"],
        step: int,
        rows: Sequence[int],
        t: float,
        noise: Float[Tensor, "n *dims"],
        camera: Float[Tensor, "n 3 4"],
    ) -> Inspection:
        """What this step's objective sees and wants at one time; nothing is drawn, and nothing changes.

        Args:
            rows: Rows of the prompt table, one a sample.
            t: Time, as a fraction of T.
            camera: Camera-to-world matrices, for the adapter.
        """
        active = self.active(step)
        seen = inspect(active.objective, self._problem(rows, camera), self._at(t, x, noise))
        return seen._replace(gradient=active.weight * seen.gradient)

    def _at(self, t: float, x: Float[Tensor, "n *dims"], noise: Float[Tensor, "n *dims"]) -> Sample:
        time = int(t * (self.prior.schedule.num_timesteps - 1))
        return Sample(x, torch.full((len(x),), time, device=x.device), noise)

    def _check(
        self,
        numbers: Mapping[str, float],
        names: Sequence[str],
        why: Callable[[], NonFinite],
        images: Float[Tensor, "b 3 h w"] | None,
        step: int,
    ) -> None:
        """Raise UserError for the first loss that is not finite."""
        name = next((name for name in names if not math.isfinite(numbers[name])), None)
        if name is None:
            return
        error = NonFinite(
            "adapter" if name == ADAPTER else "regulariser", f"the {name} loss is {numbers[name]}"
        )
        if name == DISTILLATION:
            error = why()
            if error.cause == "x" and images is not None and not torch.isfinite(images).all():
                error = NonFinite("render", "a rendered image is not finite")
        raise explained(error, step, self.prior_name, self.prior.dtype, FLOAT32_FLAGS)


def adapter_for(
    prior: ImagePrior, objective: str, config: GuidanceConfig, seed: int, camera: bool = False
) -> Adapter | None:
    """The adapter that an objective asks; None where it asks none.

    Args:
        seed: Seed of its first values.
        camera: True where it reads the camera of each image.

    Raises:
        UserError: The prior cannot have one.
    """
    if Slot.ADAPTER not in config.stages(objective).slots:
        return None
    if not isinstance(prior, HasNetwork):
        raise UserError(f"{objective} needs a prior whose network is known; choose sds")
    return Adapter(prior, config.adapter_rank, camera=camera, seed=seed)


def requested_slots(objective: str, config: GuidanceConfig) -> frozenset[Slot]:
    """The slots that a run needs prompts for: those of its stages, and those that measurements ask."""
    measured = {Slot.SOURCE, Slot.NULL} if config.errors_every else set()
    avoided = {Slot.NEGATIVE, Slot.NULL} if config.perp_neg else set()
    return config.stages(objective).slots | {Slot.TARGET} | measured | avoided
