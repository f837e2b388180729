"""A pipeline of Diffusers as a prior: the base class of all families.

Letters: x_t noisy latent (b c h w), t diffusion times (b).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from bridge_nerf.distillation.denoising import PredictionType
from bridge_nerf.distillation.prior import Condition
from bridge_nerf.errors import UserError
from bridge_nerf.priors.autoencoders import LatentSpace, latent_space
from bridge_nerf.priors.compiling import compile_network, uncompiled
from bridge_nerf.priors.components import Components, load_components
from bridge_nerf.priors.cpu import fastest_attention
from bridge_nerf.priors.graphs import graph_network
from bridge_nerf.priors.memory import keep_few_activations
from bridge_nerf.priors.precision import own_precision
from bridge_nerf.priors.prompts import Vocabulary
from bridge_nerf.priors.text import Text
from bridge_nerf.schedules import NoiseSchedule


class DiffusersPrior(ABC):
    """A prior that answers in eps whatever its network predicts, with frozen weights.

    Gradients pass to the input. `attention` makes the context in which the network answers.

    Args:
        components: The networks, all on one device.
        vocabulary: The words that prompts may hold; None allows all.

    Raises:
        UserError: The family does not know the schedule or the prediction type.
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
        self.latent_space = latent_space(vae, components.name)
        side = unet.config.sample_size
        self.image_size: int = side * self.latent_space.factor
        self.latent_shape: tuple[int, int, int] = (unet.config.in_channels, side, side)
        self._conditions: dict[str, Condition] = {}
        """Prompt -> its condition, once it was read."""
        self.attention = fastest_attention(self.device, self.dtype)

    @property
    def network(self) -> nn.Module:
        """The denoiser."""
        return self.components.denoiser

    @property
    def prediction_type(self) -> PredictionType:
        """The prediction by which an adapter learns: v where the network was trained on v, else eps."""
        kind = self.components.scheduler.config.get("prediction_type")
        return "v_prediction" if kind == "v_prediction" else "epsilon"

    def uncompiled(self) -> AbstractContextManager[None]:
        """While entered, `eps` calls the network itself, neither compiled nor recorded."""
        return uncompiled(self.network)

    @staticmethod
    def load(
        folder: Path,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        name: str | None = None,
    ) -> "DiffusersPrior":
        """A prior from a folder in the layout of a pipeline's save_pretrained; words.json is optional.

        The family (and so the class) follows from model_index.json; `name`, by default the folder, is for
        messages.

        Raises:
            UserError: The folder is incomplete, damaged or another kind of pipeline.
        """
        vocabulary = Vocabulary.read(folder)
        family, components = load_components(folder, torch.device(device), dtype)
        components = replace(components, name=name or str(folder))
        module, kind = family.prior.split(":")
        return getattr(import_module(module), kind)(components, vocabulary)

    def keep_few_activations(self) -> None:
        """Let the autoencoder keep few activations for its gradient, and take images one at a time."""
        if self.components.vae is not None:
            keep_few_activations(self.components.vae)

    def compile(self) -> None:
        """Compile the network; its first calls take minutes. UserError without a compiler."""
        compile_network(self.components.denoiser, self.device)
        self.attention = nullcontext  # the compiler would unroll every block of another

    def record_graphs(self) -> None:
        """Let network and encoder replay CUDA graphs."""
        graph_network(self.components.denoiser, f"the network of {self.components.name}")
        if isinstance(self.latent_space, LatentSpace):
            self.latent_space.record_graphs(f"the autoencoder of {self.components.name}")

    @abstractmethod
    def _alphas_cumprod(self) -> Float[Tensor, "T"]:
        """The schedule's table of alpha^2."""

    def _betas(self) -> Float[Tensor, "T"] | None:
        """The table of betas behind it; None where it was made otherwise."""
        return None

    @abstractmethod
    def eps(
        self, x_t: Float[Tensor, "b c h w"], t: Int[Tensor, "b"], condition: Condition
    ) -> Float[Tensor, "b c h w"]:
        """The noise expected in x_t, in x_t's dtype."""

    @own_precision()
    def _call(self, *args: Any, **kwargs: Any) -> Float[Tensor, "b c h w"]:
        """The network's answer."""
        with self.attention():
            return self.components.denoiser(*args, **kwargs).sample

    @abstractmethod
    def _read(self, prompts: Sequence[str]) -> Condition:
        """The network's conditions, one row a prompt. Each text encoder visits the device once."""

    @own_precision()
    def embed(self, prompts: Sequence[str]) -> Condition:
        """Conditions, one row a prompt, on the prior's device; "" is the unconditional model.

        Each prompt is read once, and new ones together: give all that will be needed at once, before anything
        else wants the memory that text encoders take while they visit.

        Raises:
            UserError: A prompt would be cut short or holds an unknown word.
        """
        if new := [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._conditions]:
            for prompt in new:
                self._check_readable(prompt)
            rows = replace(self._read(new), says=tuple(new))
            self._conditions |= {prompt: rows[k] for k, prompt in enumerate(new)}
        return Condition.cat([self._conditions[prompt] for prompt in prompts])

    @own_precision()
    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c lh lw"]:
        """Latents of images in [0, 1], in the images' dtype and on their device; differentiable."""
        return self.latent_space.encode(images)

    @own_precision()
    def decode(self, latents: Float[Tensor, "b c lh lw"]) -> Float[Tensor, "b 3 h w"]:
        """Images, clamped to [0, 1], in the latents' dtype and on their device."""
        return self.latent_space.decode(latents)

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """Raise UserError for the first prompt that is empty, too long, or holds an unknown word."""
        for prompt in prompts:
            if not prompt.strip():
                raise UserError('the prompt is empty: say what to make, as in "a pineapple"')
            self._check_readable(prompt)

    @property
    def text_encoders(self) -> tuple[Text, ...]:
        """The text encoders that the pipeline has."""
        return tuple(text for text in self.components.text_encoders if text is not None)

    def _check_readable(self, prompt: str) -> None:
        if self.vocabulary is not None:
            self.vocabulary.check(prompt)
        for text in self.text_encoders:
            text.check(prompt)
