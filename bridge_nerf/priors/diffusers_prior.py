"""A Stable Diffusion pipeline as a prior.

Letters: x_t noisy latent (b c h w), t diffusion times (b), latent = (posterior mean - shift) * scaling.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge_nerf.distillation.prior import Condition
from bridge_nerf.errors import UserError
from bridge_nerf.priors.components import Components, load_components
from bridge_nerf.priors.prompts import Vocabulary, quote
from bridge_nerf.schedules import NoiseSchedule


class DiffusersPrior:
    """Answers in eps whatever the UNet predicts. All weights are frozen; gradients pass through to the input.

    Args:
        components: The networks, all on one device.
        vocabulary: The words that prompts may hold; None allows all.

    Raises UserError for a prediction type that is not one of Diffusers'.
    """

    def __init__(self, components: Components, vocabulary: Vocabulary | None = None) -> None:
        self.components = components
        self.vocabulary = vocabulary
        self.schedule = NoiseSchedule(components.alphas_cumprod)
        vae, unet = components.vae, components.unet
        side = unet.config.sample_size
        self.image_size: int = side * 2 ** (len(vae.config.block_out_channels) - 1)
        self.latent_shape: tuple[int, int, int] = (vae.config.latent_channels, side, side)
        self.device: torch.device = unet.device
        self.dtype: torch.dtype = unet.dtype
        self._embeddings: dict[str, Tensor] = {}
        answers = {
            "epsilon": lambda x_t, answer, t: answer,
            "v_prediction": self.schedule.eps_from_v,
            "sample": self.schedule.eps_from_x0,
        }
        if components.prediction_type not in answers:
            raise UserError(
                f'unknown prediction type "{components.prediction_type}" in the scheduler\'s configuration: '
                f"use {', '.join(answers)}"
            )
        self._to_eps = answers[components.prediction_type]

    @classmethod
    def load(
        cls, folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> "DiffusersPrior":
        """From a folder in the layout of StableDiffusionPipeline.save_pretrained; words.json is optional.

        Raises UserError where the folder is incomplete, damaged or another kind of pipeline.
        """
        return cls(load_components(folder, torch.device(device), dtype), Vocabulary.read(folder))

    def eps(
        self, x_t: Float[Tensor, "b c h w"], t: Int[Tensor, "b"], condition: Condition
    ) -> Float[Tensor, "b c h w"]:
        """The noise expected in x_t, in x_t's dtype."""
        told = condition.embedding.to(self.device, self.dtype)
        answer = self.components.unet(x_t.to(self.dtype), t, encoder_hidden_states=told).sample
        return self._to_eps(x_t, answer.to(x_t.dtype), t)

    def embed(self, prompts: Sequence[str]) -> Condition:
        """(b, tokens, width) embeddings; "" is the unconditional model. Each prompt is encoded once.

        Raises UserError for a prompt that would be cut short or holds an unknown word.
        """
        for prompt in prompts:
            if prompt not in self._embeddings:
                self._check_readable(prompt)
                self._embeddings[prompt] = self._encode_text(prompt)
        return Condition(torch.cat([self._embeddings[prompt] for prompt in prompts]))

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c lh lw"]:
        """Latents of images in [0, 1], in the images' dtype; differentiable."""
        vae = self.components.vae
        mean = vae.encode((2 * images - 1).to(self.dtype)).latent_dist.mode().to(images.dtype)
        return (mean - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor

    def decode(self, latents: Float[Tensor, "b c lh lw"]) -> Float[Tensor, "b 3 h w"]:
        """Images, clamped to [0, 1], in the latents' dtype."""
        vae = self.components.vae
        mean = latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
        return (vae.decode(mean.to(self.dtype)).sample.to(latents.dtype) / 2 + 0.5).clamp(0, 1)

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """UserError for the first prompt that is empty, too long, or holds an unknown word."""
        for prompt in prompts:
            if not prompt.strip():
                raise UserError('the prompt is empty: say what to make, as in "a pineapple"')
            self._check_readable(prompt)

    def _check_readable(self, prompt: str) -> None:
        if self.vocabulary is not None:
            self.vocabulary.check(prompt)
        marks = self.components.tokenizer.num_special_tokens_to_add()
        count = len(self.components.tokenizer(prompt, verbose=False).input_ids) - marks
        if count > self._token_limit - marks:
            raise UserError(
                f"the prompt {quote(prompt)} has {count} tokens, the text encoder takes "
                f"{self._token_limit - marks}: shorten it"
            )

    @property
    def _token_limit(self) -> int:
        # A tokenizer saved without its length claims to take 10^30 tokens.
        parts = self.components
        return min(parts.tokenizer.model_max_length, parts.text_encoder.config.max_position_embeddings)

    @torch.no_grad()
    def _encode_text(self, prompt: str) -> Float[Tensor, "1 tokens width"]:
        encoder = self.components.text_encoder
        tokens = self.components.tokenizer(
            prompt, padding="max_length", max_length=self._token_limit, return_tensors="pt"
        ).to(self.device)
        # As in StableDiffusionPipeline: padding is read, unless the encoder was trained with a mask.
        mask = tokens.attention_mask if getattr(encoder.config, "use_attention_mask", False) else None
        return encoder(tokens.input_ids, attention_mask=mask)[0]
