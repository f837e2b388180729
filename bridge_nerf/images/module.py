"""One optimisation as a LightningModule: canvas in, distillation loss out."""

from __future__ import annotations

from functools import reduce
from typing import Any

import lightning
import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from bridge_nerf.annealing import Ramp
from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.errors import UserError
from bridge_nerf.guidance.distiller import DISTILLATION, Distiller, adapter_for, requested_slots
from bridge_nerf.guidance.prompts import PromptTable, slot_texts
from bridge_nerf.guidance.rng import PerImageDraws
from bridge_nerf.images.canvas import canvas_for
from bridge_nerf.images.spec import Spec


class ImageModule(lightning.LightningModule):
    """The images of a specification on their way.

    `bridge_nerf.images.generation.generate` steps it; a Lightning Trainer can, too.

    Args:
        start: Start of each image, of the specification's size; None for noise.

    Raises:
        UserError: The prior cannot read one of the prompts, or the specification is impossible.
    """

    def __init__(self, spec: Spec, prior: ImagePrior, start: Float[Tensor, "b 3 h w"] | None = None) -> None:
        super().__init__()
        self.spec, self.prior = spec, prior
        guidance, objective = spec.config.guidance, spec.objective
        self.canvas = canvas_for(spec, prior, start)
        if guidance.stages(objective).edits and start is None:
            raise UserError(f'"{objective}" edits an image; use it with paint, or choose another objective')
        # One for the whole batch: its images are VSD's particles. Every other objective keeps them apart.
        self.adapter = adapter_for(prior, objective, guidance, spec.subjects[0].seed)
        # A row for each (transform, image), transforms slowest.
        prompts = [subject.prompts[k] for k in range(len(spec.transforms)) for subject in spec.subjects]
        prior.check_prompts(prompts)
        texts = [slot_texts(prompt, guidance.prompts) for prompt in prompts]
        table = PromptTable(prior, texts, requested_slots(objective, guidance))
        draws = PerImageDraws(tuple(subject.seed for subject in spec.subjects), len(spec.transforms))
        reference = None if start is None else self._latents().detach()
        self.distiller = Distiller(
            prior, spec.prior, objective, guidance, table, draws, self.adapter, reference
        )
        self.metrics: dict[str, float] = {}
        """Numbers of the last step."""

    def _latents(self) -> Float[Tensor, "n c lh lw"]:
        """A row for each (transform, image), transforms slowest."""
        return torch.cat([self.canvas.latents(name) for name in self.spec.transforms])

    def loss(self, step: int) -> Float[Tensor, ""]:
        """The distillation loss at this absolute step, summed over images and transforms, and the adapter's.

        Raises:
            UserError: It is not finite.
        """
        losses, numbers = self.distiller.step(self._latents, step)
        loss = numbers.pop(DISTILLATION) / (len(self.spec.transforms) * len(self.spec.subjects))
        self.metrics = {"step": step, "loss": loss, **numbers}
        return reduce(torch.add, losses.values())

    def training_step(self, batch: Any, batch_idx: int) -> Float[Tensor, ""]:
        """Lightning's name for `loss`; the batch is empty, the step is all there is to know."""
        return self.loss(self.global_step)

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW; the learning rate is a function of the step."""
        config, start = self.spec.config, self.spec.config.decay_start
        groups: list[dict[str, Any]] = [
            {
                "params": list(self.canvas.parameters()),
                "lr": config.learning_rate,
                "weight_decay": config.weight_decay,
            }
        ]
        decay = Ramp(1.0, 0.0 if start < 1 else 1.0, round(start * config.steps), config.steps)
        lr_schedules = [lambda step: decay(step) * self.distiller.active(step).rate]
        if self.adapter is not None:
            groups.append({"params": list(self.adapter.parameters()), "lr": config.adapter_rate})
            lr_schedules.append(lambda step: 1.0)
        optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.99), eps=1e-15, weight_decay=0.0)
        schedule = LambdaLR(optimiser, lr_schedules)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @torch.no_grad()
    def images(self) -> Float[Tensor, "b 3 h w"]:
        """The images as they are now, RGB in [0, 1], on the CPU."""
        return self.canvas.images().detach().float().clamp(0, 1).cpu()
