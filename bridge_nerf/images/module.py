"""One optimisation as a LightningModule: canvas in, distillation loss out.

Everything random about an image in step k is a function of (its seed, k), whatever else is in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from functools import reduce
from typing import Any

import lightning
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from bridge_nerf.devices import send
from bridge_nerf.distillation.diagnostics import measure
from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.distillation.loss import NonFinite, distillation_loss, explained, read
from bridge_nerf.distillation.prior import Condition, ImagePrior
from bridge_nerf.distillation.problem import Problem
from bridge_nerf.distillation.registry import stages_for
from bridge_nerf.errors import UserError
from bridge_nerf.images.canvas import canvas_for
from bridge_nerf.images.spec import Spec
from bridge_nerf.priors.adapter import Adapter, HasNetwork
from bridge_nerf.priors.autoencoders import deferred_checks
from bridge_nerf.schedules import Ramp, TimestepRange
from bridge_nerf.seeding import generator
from bridge_nerf.wording import join_prompt


class ImageModule(lightning.LightningModule):
    """The images of a specification on their way.

    Args:
        start: What each image starts from, of the specification's size; None for noise.

    Raises:
        UserError: The prior cannot read one of the prompts, or the specification is impossible.
    """

    def __init__(self, spec: Spec, prior: ImagePrior, start: Float[Tensor, "b 3 h w"] | None = None) -> None:
        super().__init__()
        recipe = spec.recipe
        self.spec, self.prior, self.times = spec, prior, recipe.times
        self.stages = stages_for(spec.objective, **asdict(recipe.stages))
        self.canvas = canvas_for(spec, prior, start)
        if self.stages.edits and start is None:
            raise UserError(
                f'"{spec.objective}" edits an image; use it with paint, or choose another objective'
            )
        # One for the whole batch: its images are VSD's particles. Every other objective keeps them apart.
        asked = Slot.ADAPTER in self.stages.slots
        self.adapter = _adapter(prior, spec.subjects[0].seed) if asked else None
        reference = None if start is None else self._latents().detach()
        self.problem = Problem(prior, self._conditions(), self.adapter, reference)  # pyright: ignore[reportArgumentType]
        self.metrics: dict[str, float] = {}
        """Of the last step."""

    def _conditions(self) -> dict[Slot, Condition]:
        """What the prior is told: a row for each (view, image), views slowest, or one for all."""
        recipe, spec = self.spec.recipe, self.spec
        prompts = [subject.prompts[k] for k in range(len(spec.views)) for subject in spec.subjects]
        texts = {
            Slot.TARGET: [join_prompt(prompt, recipe.target_descriptors) for prompt in prompts],
            Slot.SOURCE: [join_prompt(prompt, recipe.source_descriptors) for prompt in prompts],
            # Were it empty, nothing but guidance would be left of nfsd.
            Slot.NEGATIVE: [recipe.negative_prompt or recipe.source_descriptors],
            Slot.PROMPT: [join_prompt(prompt) for prompt in prompts],
            Slot.NULL: [""],
        }
        everything = [text for of_slot in texts.values() for text in of_slot]
        self.prior.check_prompts([*prompts, *filter(None, everything)])
        told, conditions, end = self.prior.embed(everything), {}, 0
        for slot, of_slot in texts.items():
            begin, end = end, end + len(of_slot)
            conditions[slot] = told[begin:end]
        return {**conditions, Slot.ADAPTER: conditions[Slot.TARGET]}

    def _latents(self) -> Float[Tensor, "n c lh lw"]:
        """A row for each (view, image), views slowest."""
        return torch.cat([self.canvas.latents(name) for name in self.spec.views])

    def loss(self, step: int) -> Float[Tensor, ""]:
        """The distillation loss at this absolute step, summed over images and views.

        Raises:
            UserError: It is not finite, or what the adapter learns by.
        """
        with deferred_checks():
            losses, metrics, why = self._judged(step)
        # All numbers of a step at once: on a card the host waits at every look.
        numbers = read({**losses, **metrics})
        if not all(math.isfinite(numbers[name]) for name in losses):
            # An autoencoder that overflowed in half precision is asked in float32 now.
            losses, metrics, why = self._judged(step)
            numbers = read({**losses, **metrics})
            if not math.isfinite(numbers["loss"]):
                raise self._explained(why(), step)
            if not math.isfinite(adapter := numbers.get("adapter", 0.0)):
                raise self._explained(NonFinite("adapter", f"the adapter's loss is {adapter}"), step)
        numbers["loss"] /= len(self.spec.views) * len(self.spec.subjects)
        self.metrics = {"step": step, "stage": self.stages.at(step).index + 1, **numbers}
        return reduce(torch.add, losses.values())

    def _judged(
        self, step: int
    ) -> tuple[dict[str, Float[Tensor, ""]], dict[str, Float[Tensor, ""]], Callable[[], NonFinite]]:
        """(losses, further numbers, why the first loss is not finite), none of them looked at."""
        objective, weight, _, times, _ = self.stages.at(step)
        x, recipe = self._latents(), self.spec.recipe
        t, noise = self._draws("", step, x, times or self.times)
        distilled = distillation_loss(objective, self.problem, x, t, noise, weight)
        losses, metrics = {"loss": distilled.loss}, {"t": t.float().mean(), **distilled.metrics}
        if recipe.errors_every and step % recipe.errors_every == 0:
            metrics |= measure(self.problem, x.detach(), t, noise, recipe.stages.ode_steps)
        if self.adapter is not None:
            # It follows the images (ProlificDreamer, Wang et al. 2023, eq. 9), at all times alike.
            t, noise = self._draws("adapter ", step, x, TimestepRange(0.0, 1.0))
            told = self.problem.conditions[Slot.ADAPTER]
            losses["adapter"] = self.adapter.loss(x.detach(), t, noise, told)
        return losses, metrics, distilled.why

    def _explained(self, error: NonFinite, step: int) -> UserError:
        remedy = "lower the learning rate or the guidance"
        return explained(error, step, self.spec.prior, self.prior.dtype, "--dtype float32", remedy)

    def _draws(
        self, purpose: str, step: int, x: Float[Tensor, "n c lh lw"], times: TimestepRange
    ) -> tuple[Int[Tensor, "n"], Float[Tensor, "n c lh lw"]]:
        """(t, noise) for each row: an image's views share t, and each has noise of its own."""
        subjects, views = self.spec.subjects, len(self.spec.views)
        num = self.prior.schedule.num_timesteps
        t = [times.sample(step, 1, num, generator(s.seed, f"{purpose}t", step)) for s in subjects]
        noise = [
            torch.randn(x.shape[1:], generator=generator(subject.seed, f"{purpose}noise", step, k))
            for k in range(views)
            for subject in subjects
        ]
        return send(torch.cat(t).repeat(views), x.device), send(torch.stack(noise).to(x.dtype), x.device)

    def training_step(self, batch: Any, batch_idx: int) -> Float[Tensor, ""]:
        """Lightning's name for `loss`; the batch is empty, the step is all there is to know."""
        return self.loss(self.global_step)

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW; the learning rate is a function of the step."""
        recipe = self.spec.recipe
        groups: list[dict[str, Any]] = [
            {
                "params": list(self.canvas.parameters()),
                "lr": recipe.learning_rate,
                "weight_decay": recipe.weight_decay,
            }
        ]
        fall = Ramp(1.0, 0.0 if recipe.rest < 1 else 1.0, round(recipe.rest * recipe.steps), recipe.steps)
        courses = [lambda step: fall(step) * self.stages.at(step).rate]
        if self.adapter is not None:
            groups.append({"params": list(self.adapter.parameters()), "lr": recipe.adapter_rate})
            courses.append(lambda step: 1.0)
        optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.99), eps=1e-15, weight_decay=0.0)
        schedule = LambdaLR(optimiser, courses)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @torch.no_grad()
    def images(self) -> Float[Tensor, "b 3 h w"]:
        """The images as they are now, RGB in [0, 1], on the CPU."""
        return self.canvas.images().detach().float().clamp(0, 1).cpu()


def _adapter(prior: ImagePrior, seed: int) -> Adapter:
    if not isinstance(prior, HasNetwork):
        raise UserError("this prior has no network to adapt; choose an objective without vsd")
    return Adapter(prior, seed=seed)


@dataclass(frozen=True)
class Progress:
    """A step that has been made."""

    done: int
    """Steps made so far."""
    steps: int
    metrics: dict[str, float]
    module: ImageModule

    def images(self) -> Float[Tensor, "b 3 h w"]:
        """The images after this step, RGB in [0, 1]."""
        return self.module.images()


def stream(module: ImageModule) -> Generator[Progress, None, None]:
    """Optimise from the start, in a plain loop, and hand over control after each step; stop by not asking on.

    Ends in the same images, bit for bit, as `optimise_images`.
    """
    settings = module.configure_optimizers()
    optimiser, schedule = settings["optimizer"], settings["lr_scheduler"]["scheduler"]
    for step in range(module.spec.recipe.steps):
        with torch.enable_grad():
            optimiser.zero_grad()
            module.loss(step).backward()
            optimiser.step()
            schedule.step()
        yield Progress(step + 1, module.spec.recipe.steps, module.metrics, module)
