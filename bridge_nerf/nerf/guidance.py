"""The prior's opinion of rendered pictures: the one place where the NeRF meets the distillation core.

Nothing here is an `nn.Module`: neither the prior nor its schedules can end up in a checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.distillation.loss import Distilled, distillation_loss
from bridge_nerf.distillation.prior import Condition, ImagePrior
from bridge_nerf.distillation.problem import Problem
from bridge_nerf.distillation.stages import Active
from bridge_nerf.errors import UserError
from bridge_nerf.nerf.guidance_config import GuidanceConfig, Wishes
from bridge_nerf.nerf.orbit import Orbit
from bridge_nerf.nerf.prompts import VIEWS, compose
from bridge_nerf.seeding import generator


class Guidance:
    """Turns pictures into a distillation loss.

    Args:
        backgrounds: Every background name that training may report.

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
    ) -> None:
        self.prior, self.config, self.seed = prior, config, seed
        self.backgrounds = tuple(backgrounds)
        self.timesteps = config.timesteps()
        self.apply(wishes)

    def apply(self, wishes: Wishes) -> None:
        """Take over new wishes, or change nothing and raise UserError."""
        stages = replace(self.config, guidance_scale=wishes.guidance_scale).stages()
        if wishes.stage != "auto" and int(wishes.stage) > len(stages.stages):
            raise UserError(
                f'the objective "{self.config.objective}" has no stage {wishes.stage}: choose auto'
            )
        self.prior.check_prompts([compose(wishes.prompt)])
        described = (wishes.target_descriptors, wishes.source_descriptors)
        everything = [
            self._text(wishes.prompt, self.config.view.words(view), background, words)
            for view in VIEWS
            for background in self.backgrounds
            for words in described
        ]
        if negative := compose(self.config.negative_prompt):
            everything.append(negative)
        self.prior.check_prompts(everything)
        self.stages, self.wishes = stages, wishes

    def active(self, step: int) -> Active:
        """The objective that acts at this absolute step."""
        if self.wishes.stage == "auto":
            return self.stages.at(step)
        return self.stages.stage(int(self.wishes.stage) - 1, step)

    def loss(
        self, pictures: Float[Tensor, "b 3 h w"], orbit: Orbit, background: str | None, step: int
    ) -> Distilled:
        """Mean over the b pictures of the distillation loss at this absolute step.

        t and noise are a pure function of (seed, step).

        Raises:
            UserError: The gradient is not finite.
        """
        prior, (objective, weight, _) = self.prior, self.active(step)
        size = (prior.image_size, prior.image_size)
        if pictures.shape[-2:] != size:
            pictures = F.interpolate(pictures, size, mode="bilinear", antialias=True)
        x = prior.encode(pictures.to(prior.device))
        draws = generator(self.seed, "t", step)
        t = self.timesteps.sample(step, len(x), prior.schedule.num_timesteps, draws).to(x.device)
        noise = torch.randn(x.shape, generator=generator(self.seed, "noise", step)).to(x)
        try:
            distilled = distillation_loss(objective, self._problem(orbit, background), x, t, noise, weight)
        except FloatingPointError as error:
            raise UserError(
                f"step {step}: {error}; go back to the last checkpoint with a lower learning rate"
            ) from error
        return distilled._replace(loss=distilled.loss / len(x))

    def _problem(self, orbit: Orbit, background: str | None) -> Problem:
        angles = zip(orbit.azimuth.tolist(), orbit.elevation.tolist(), strict=True)
        views = [self.config.view.words(self.config.view.view(*pair)) for pair in angles]
        wishes = self.wishes

        def told(descriptors: str) -> Condition:
            return self.prior.embed(
                [self._text(wishes.prompt, view, background, descriptors) for view in views]
            )

        conditions = {
            Slot.TARGET: told(wishes.target_descriptors),
            Slot.SOURCE: told(wishes.source_descriptors),
            Slot.NEGATIVE: self.prior.embed([compose(self.config.negative_prompt)]),
            Slot.NULL: self.prior.embed([""]),
        }
        return Problem(self.prior, conditions)

    def _text(self, prompt: str, view: str, background: str | None, descriptors: str) -> str:
        behind = f"{background} background" if background and self.config.background_words else ""
        return compose(prompt, view, behind, descriptors)
