"""The families whose network is a UNet under a discrete diffusion process."""

import json
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge_nerf.distillation.prior import Condition
from bridge_nerf.errors import UserError
from bridge_nerf.priors.components import Components
from bridge_nerf.priors.diffusers_prior import DiffusersPrior
from bridge_nerf.priors.prompts import Vocabulary
from bridge_nerf.priors.text import last_but_one_and_pooled


class StableDiffusion(DiffusersPrior):
    """Stable Diffusion 1.x and 2.x, and the toybox, conditioned on (b, tokens, width) embeddings."""

    def __init__(self, components: Components, vocabulary: Vocabulary | None = None) -> None:
        super().__init__(components, vocabulary)
        answers = {
            "epsilon": lambda x_t, answer, t: answer,
            "v_prediction": self.schedule.eps_from_v,
            "sample": self.schedule.eps_from_x0,
        }
        prediction_type = components.scheduler.config.prediction_type
        if not isinstance(prediction_type, str) or prediction_type not in answers:
            raise UserError(
                f"the scheduler of {components.name} has the unknown prediction type "
                f"{json.dumps(prediction_type):.200}: use {', '.join(answers)}"
            )
        self._to_eps = answers[prediction_type]

    def _alphas_cumprod(self) -> Float[Tensor, "T"]:
        return self.components.scheduler.alphas_cumprod

    def _betas(self) -> Float[Tensor, "T"]:
        return self.components.scheduler.betas

    def eps(
        self, x_t: Float[Tensor, "b c h w"], t: Int[Tensor, "b"], condition: Condition
    ) -> Float[Tensor, "b c h w"]:
        """The noise expected in x_t, in x_t's dtype."""
        condition = condition.to(self.device, self.dtype)
        text, added = condition.embedding, self._added(condition)
        answer = self._call(x_t.to(self.dtype), t, encoder_hidden_states=text, added_cond_kwargs=added)
        # A network that learned its variance answers that in further channels.
        return self._to_eps(x_t, answer[:, : x_t.shape[1]].to(x_t.dtype), t)

    def _added(self, condition: Condition) -> dict[str, Tensor]:
        """Further conditions of the UNet."""
        return {}

    def _read(self, prompts: Sequence[str]) -> Condition:
        (text,) = self.text_encoders
        # As in StableDiffusionPipeline: padding is read, unless the encoder was trained with a mask.
        masked = bool(getattr(text.encoder.config, "use_attention_mask", False))
        (embedding,) = text.read(prompts, self.device, lambda output: [output[0]], masked)
        return Condition(embedding)


class DeepFloyd(StableDiffusion):
    """DeepFloyd IF's first stage: pixels in [-1, 1], conditioned on a T5 (Saharia et al. 2022)."""

    def _read(self, prompts: Sequence[str]) -> Condition:
        (text,) = self.text_encoders
        # As IFPipeline, without its cleaning of web pages.
        simple = [prompt.lower().strip() for prompt in prompts]
        (embedding,) = text.read(simple, self.device, lambda output: [output[0]], masked=True)
        return Condition(embedding)


class StableDiffusionXL(StableDiffusion):
    """Stable Diffusion XL (Podell et al. 2023), conditioned on the last but one layer of two encoders, a
    pooled embedding, and sizes.
    """

    def __init__(self, components: Components, vocabulary: Vocabulary | None = None) -> None:
        super().__init__(components, vocabulary)
        # Original size, upper left corner of the crop, size wanted: no up-scaling, nothing cut off.
        size = self.image_size
        self._sizes = torch.tensor([size, size, 0, 0, size, size], device=self.device, dtype=self.dtype)

    def _added(self, condition: Condition) -> dict[str, Tensor]:
        return {"text_embeds": condition.extra["pooled"], "time_ids": self._sizes.expand(len(condition), -1)}

    def _read(self, prompts: Sequence[str]) -> Condition:
        clip, clip_2 = self.text_encoders
        (first,) = clip.read(prompts, self.device, lambda output: [output.hidden_states[-2]])
        second, pooled = clip_2.read(prompts, self.device, last_but_one_and_pooled)
        if self.components.index.get("force_zeros_for_empty_prompt", True):
            # The published model was trained with zeros for no prompt.
            for row in (row for row, prompt in enumerate(prompts) if not prompt):
                first[row] = second[row] = pooled[row] = 0
        return Condition(torch.cat([first, second], dim=-1), {"pooled": pooled})
