"""A pipeline of Diffusers as a prior: what all families share.

Letters: x_t noisy latent (b c h w), t diffusion times (b).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge_nerf.distillation.prior import Condition
from bridge_nerf.errors import UserError
from bridge_nerf.priors.attention import BlockedAttention
from bridge_nerf.priors.autoencoders import space_of
from bridge_nerf.priors.components import Components, load_components
from bridge_nerf.priors.precision import own_precision
from bridge_nerf.priors.processor import multiplies_bfloat16, multiplies_tiles
from bridge_nerf.priors.prompts import Vocabulary
from bridge_nerf.priors.text import Text
from bridge_nerf.schedules import NoiseSchedule


class DiffusersPrior(ABC):
    """Answers in eps whatever the network predicts. All weights are frozen; gradients pass to the input.

    `attention` makes what is entered while the network answers.

    Args:
        components: The networks, all on one device.
        vocabulary: The words that prompts may hold; None allows all.

    Raises UserError for a schedule or prediction type that the family does not know.
    """

    def __init__(self, components: Components, vocabulary: Vocabulary | None = None) -> None:
        self.components, self.vocabulary = components, vocabulary
        unet, vae = components.denoiser, components.vae
        self.device: torch.device = unet.device
        self.dtype: torch.dtype = unet.dtype
        self.fingerprint: str = components.fingerprint
        betas = self._betas()
        self.schedule = NoiseSchedule(
            self._alphas_cumprod().to(self.device), None if betas is None else betas.to(self.device)
        )
        self.space = space_of(vae, components.name)
        side = unet.config.sample_size
        self.image_size: int = side * self.space.factor
        self.latent_shape: tuple[int, int, int] = (unet.config.in_channels, side, side)
        self._read_already: dict[str, Condition] = {}
        self.attention = _fastest_attention(self.device, self.dtype)

    @staticmethod
    def load(
        folder: Path,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        name: str | None = None,
    ) -> "DiffusersPrior":
        """From a folder in the layout of a pipeline's save_pretrained; words.json is optional.

        The family (and so the class) follows from model_index.json; `name`, by default the folder, is for
        messages. Raises UserError where the folder is incomplete, damaged or another kind of pipeline.
        """
        vocabulary = Vocabulary.read(folder)
        family, components = load_components(folder, torch.device(device), dtype)
        components = replace(components, name=name or str(folder))
        module, kind = family.prior.split(":")
        return getattr(import_module(module), kind)(components, vocabulary)

    @abstractmethod
    def _alphas_cumprod(self) -> Float[Tensor, "T"]:
        """The table of the schedule."""

    def _betas(self) -> Float[Tensor, "T"] | None:
        """The table that it was made of; None where it was made otherwise."""
        return None

    @abstractmethod
    def eps(
        self, x_t: Float[Tensor, "b c h w"], t: Int[Tensor, "b"], condition: Condition
    ) -> Float[Tensor, "b c h w"]:
        """The noise expected in x_t, in x_t's dtype."""

    @own_precision()
    def _ask(self, *given: Any, **named: Any) -> Float[Tensor, "b c h w"]:
        """What the network answers."""
        with self.attention():
            return self.components.denoiser(*given, **named).sample

    @abstractmethod
    def _read(self, prompts: Sequence[str]) -> Condition:
        """One row a prompt: what the network is told. Each text encoder visits the device once."""

    @own_precision()
    def embed(self, prompts: Sequence[str]) -> Condition:
        """One row a prompt, on the prior's device; "" is the unconditional model. Each is read once.

        The new ones are read together: give all that will be needed at once, before anything else wants the
        memory that text encoders take while they visit.

        Raises UserError for a prompt that would be cut short or holds an unknown word.
        """
        if new := [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._read_already]:
            for prompt in new:
                self._check_readable(prompt)
            rows = replace(self._read(new), says=tuple(new))
            self._read_already |= {prompt: rows[k] for k, prompt in enumerate(new)}
        return Condition.cat([self._read_already[prompt] for prompt in prompts])

    @own_precision()
    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c lh lw"]:
        """Latents of images in [0, 1], in the images' dtype and on their device; differentiable."""
        return self.space.encode(images)

    @own_precision()
    def decode(self, latents: Float[Tensor, "b c lh lw"]) -> Float[Tensor, "b 3 h w"]:
        """Images, clamped to [0, 1], in the latents' dtype and on their device."""
        return self.space.decode(latents)

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """UserError for the first prompt that is empty, too long, or holds an unknown word."""
        for prompt in prompts:
            if not prompt.strip():
                raise UserError('the prompt is empty: say what to make, as in "a pineapple"')
            self._check_readable(prompt)

    @property
    def text_encoders(self) -> tuple[Text, ...]:
        """The text encoders that there are."""
        return tuple(text for text in self.components.text_encoders if text is not None)

    def _check_readable(self, prompt: str) -> None:
        if self.vocabulary is not None:
            self.vocabulary.check(prompt)
        for text in self.text_encoders:
            text.check(prompt)


def _fastest_attention(device: torch.device, dtype: torch.dtype) -> Callable[[], AbstractContextManager]:
    """What to enter while a network answers."""
    slow = dtype == torch.bfloat16 and multiplies_bfloat16(device) and not multiplies_tiles(device)
    return BlockedAttention if slow else nullcontext
