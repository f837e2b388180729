"""The prior's opinion of rendered images: the one place where the NeRF meets the distillation core.

Nothing here is an `nn.Module`: neither the prior nor its schedules can end up in a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.devices import send
from bridge_nerf.distillation.diagnostics import measure
from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.distillation.loss import NonFinite, distillation_loss, explained
from bridge_nerf.distillation.prior import Condition, ImagePrior
from bridge_nerf.distillation.problem import Problem
from bridge_nerf.distillation.registry import Active
from bridge_nerf.distillation.requested import check_requested
from bridge_nerf.distillation.wrappers import PerpNeg
from bridge_nerf.errors import UserError
from bridge_nerf.nerf.guidance_config import GuidanceConfig, Wishes
from bridge_nerf.nerf.prompts import OPPOSITE, VIEWS, View
from bridge_nerf.nerf.scene.orbit import Orbit
from bridge_nerf.priors.adapter import Adapter
from bridge_nerf.priors.registry import resolve_prior
from bridge_nerf.seeding import generator
from bridge_nerf.wording import join_prompt

PANEL = {"target_descriptors": "Target", "source_descriptors": "Source", "guidance_scale": "Guidance"}
"""What the viewer's panel calls what only some objectives listen to."""


DISTILLATION = "distillation"
"""The name of its loss; the others are what is learned beside it."""


class Judged(NamedTuple):
    """What a step needs and what it should log."""

    losses: dict[str, Float[Tensor, ""]]
    """"distillation", the mean over the images, and "adapter" where one learns."""
    gradient: Float[Tensor, "b *dims"]
    """What the distillation asks of the latents."""
    metrics: dict[str, Float[Tensor, ""]]
    why: Callable[[], NonFinite]
    """Says why the distillation is not finite, once that is found."""


class Guidance:
    """Turns images into a distillation loss.

    Args:
        backgrounds: Every background name that training may report.
        adapter: Learns the current images, for objectives that ask it.

    Raises:
        UserError: The prior cannot read one of the prompts, or the configuration is impossible.
    """

    def __init__(
        self,
        prior: ImagePrior,
        config: GuidanceConfig,
        wishes: Wishes,
        seed: int,
        backgrounds: Iterable[str | None] = (None,),
        adapter: Adapter | None = None,
    ) -> None:
        self.prior, self.config, self.seed, self.adapter = prior, config, seed, adapter
        self.backgrounds = tuple(backgrounds)
        self.timesteps, self.wishes = config.timesteps(), wishes
        self.apply(wishes)

    def apply(self, wishes: Wishes) -> None:
        """Take over new wishes, or change nothing and raise UserError."""
        changed = {name for name in PANEL if getattr(wishes, name) != getattr(self.wishes, name)}
        wished = replace(self.config, guidance_scale=wishes.guidance_scale)
        check_requested([wished.listener()], {name: PANEL[name] for name in sorted(changed)})
        stages = wished.stages()
        self.config.check_stage(wishes.stage, stages)
        self.prior.check_prompts([join_prompt(wishes.prompt)])
        target, source = self._described(wishes)
        told: list[tuple[tuple[str, str], View | None]] = [
            (p, view) for view in VIEWS for p in (target, source)
        ]
        if self.adapter is not None:
            told.append((target, None))
        everything = [self._text(*pair, view, behind) for pair, view in told for behind in self.backgrounds]
        negative = self._negative(wishes)
        self.prior.check_prompts([*everything, negative] if negative else everything)
        # Read now, each once: no text encoder travels while training goes on.
        self.prior.embed([*everything, "", *([negative] if Slot.NEGATIVE in stages.slots else [])])
        self.stages, self.wishes = stages, wishes

    def active(self, step: int) -> Active:
        """The objective that acts at this absolute step."""
        if self.wishes.stage == "auto":
            return self.stages.at(step)
        return self.stages.stage(int(self.wishes.stage) - 1, step)

    def loss(
        self, images: Float[Tensor, "b 3 h w"], orbit: Orbit, background: str | None, step: int
    ) -> Judged:
        """The losses of the b images at this absolute step.

        t and noise are a pure function of (seed, step). Nothing is looked at: see `Judged.why`.
        """
        prior, active = self.prior, self.active(step)
        size = (prior.image_size, prior.image_size)
        if images.shape[-2:] != size:
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        # Under autocast a render may be in half precision.
        x = prior.encode(images.to(prior.device).float())
        draws = generator(self.seed, "t", step)
        times = active.times or self.timesteps
        t = times.sample(step, len(x), prior.schedule.num_timesteps, draws)
        noise = torch.randn(x.shape, generator=generator(self.seed, "noise", step))
        t, noise = send(t, x.device), send(noise, x.device)
        problem = self._problem(orbit, background)
        distilled = distillation_loss(active.objective, problem, x, t, noise, active.weight)
        losses, metrics = {DISTILLATION: distilled.loss / len(x)}, distilled.metrics
        if self.adapter is not None:
            losses["adapter"] = self._adapter_loss(self.adapter, problem, x.detach(), step)
        if self.config.errors_every and step % self.config.errors_every == 0:
            metrics = metrics | measure(problem, x.detach(), t, noise, self.config.ode_steps)

        def why() -> NonFinite:
            error = distilled.why()
            if error.cause == "x" and not torch.isfinite(images).all():
                return NonFinite("render", "an image is not finite")
            return error

        return Judged(losses, distilled.gradient, metrics, why)

    def explained(self, error: NonFinite, step: int) -> UserError:
        """What to tell the user of a step that cannot be made."""
        name, _ = resolve_prior(self.config.prior, self.prior.device)
        single, remedy = "--pipeline.prior-dtype float32", "resume with a lower learning rate"
        return explained(error, step, name, self.prior.dtype, single, remedy)

    def _adapter_loss(
        self, adapter: Adapter, problem: Problem, x: Float[Tensor, "b *dims"], step: int
    ) -> Float[Tensor, ""]:
        """At times and noise of its own: those of the distillation would teach it what it is asked next."""
        draws = generator(self.seed, "adapter", step)
        t = torch.randint(self.prior.schedule.num_timesteps, (len(x),), generator=draws)
        noise = torch.randn(x.shape, generator=draws)
        told = problem.conditions[Slot.ADAPTER]
        return adapter.loss(x, send(t, x.device), send(noise, x.device), told)

    def _problem(self, orbit: Orbit, background: str | None) -> Problem:
        angles = zip(orbit.azimuth.tolist(), orbit.elevation.tolist(), strict=True)
        views: list[View] = [self.config.view.view(*pair) for pair in angles]
        wishes, prior, config = self.wishes, self.prior, self.config

        def told(prompt: str, descriptors: str, views: Sequence[View]) -> Condition:
            return prior.embed([self._text(prompt, descriptors, view, background) for view in views])

        target, source = self._described(wishes)
        conditions = {
            Slot.TARGET: told(*target, views),
            Slot.SOURCE: told(*source, views),
            Slot.NULL: prior.embed([""]),
        }
        if self.adapter is not None:
            # The camera says from where; the words need not.
            alike = prior.embed([self._text(*target, None, background)]).expand(len(views))
            cameras = send(orbit.poses(), alike.embedding.device)
            conditions[Slot.ADAPTER] = alike.telling(camera=cameras)
        if config.perp_neg:
            conditions[Slot.NEGATIVE] = told(*target, [OPPOSITE[view] for view in views])
            return PerpNeg(prior, conditions, self.adapter, strength=config.perp_neg)
        if Slot.NEGATIVE in self.stages.slots:
            conditions[Slot.NEGATIVE] = prior.embed([self._negative(wishes)])
        return Problem(prior, conditions, self.adapter)

    def _described(self, wishes: Wishes) -> tuple[tuple[str, str], tuple[str, str]]:
        """(prompt, descriptors) of target and of source."""
        source = self.config.source_prompt or wishes.prompt
        return (wishes.prompt, wishes.target_descriptors), (source, wishes.source_descriptors)

    def _negative(self, wishes: Wishes) -> str:
        """The whole text of NEGATIVE. Were it empty, nothing but guidance would be left of nfsd."""
        return join_prompt(self.config.negative_prompt) or join_prompt(wishes.source_descriptors)

    def _text(self, prompt: str, descriptors: str, view: View | None, background: str | None) -> str:
        behind = f"{background} background" if background and self.config.background_words else ""
        words = self.config.view
        seen = (prompt,) if view is None else (words.debiased(prompt, view), words.words(view))
        return join_prompt(*seen, behind, descriptors)
