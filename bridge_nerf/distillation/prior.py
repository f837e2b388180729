"""The interface of a diffusion model, and the form in which a prompt reaches it.

Priors are plain objects, never `nn.Module` attributes of what is trained, so that none lands in a checkpoint.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from bridge_nerf.schedules import NoiseSchedule


@dataclass(frozen=True, eq=False)
class Condition:
    """The input of a network besides x_t and t, such as an embedded prompt, for each row of a batch.

    Args:
        embedding: One row a sample; what the rest of the shape means is the prior's business.
        extra: Further tensors, one row a sample each (a pooled embedding, a camera).
        says: Content of each row, such as its prompt: rows of one prior that say the same are the same. None
            where it is unknown.
    """

    embedding: Float[Tensor, "b *dims"]
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    says: tuple[Hashable, ...] | None = None

    def __len__(self) -> int:
        return len(self.embedding)

    def __getitem__(self, rows: int | slice) -> "Condition":
        """Some rows; a whole number picks one and keeps the batch dimension."""
        picked = slice(rows, rows + 1 or None) if isinstance(rows, int) else rows
        return self._each(lambda value: value[picked], self.says and self.says[picked])

    def expand(self, n: int) -> "Condition":
        """n equal rows from one; n rows stay as they are. Any other number of rows is a ValueError."""
        if len(self) == n:
            return self
        if len(self) != 1:
            raise ValueError(f"a condition of {len(self)} rows cannot serve {n} samples; give 1 row or {n}")
        return self._each(lambda value: value.repeat(n, *[1] * (value.ndim - 1)), self.says and n * self.says)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Condition":
        """Moved; `dtype` touches floating point tensors only."""

        def move(value: Tensor) -> Tensor:
            return value.to(device=device, dtype=dtype if value.is_floating_point() else None)

        return self._each(move, self.says)

    def telling(self, **extra: Shaped[Tensor, "b *_"]) -> "Condition":
        """The condition with further tensors; its rows no longer say all that they hold."""
        return Condition(self.embedding, {**self.extra, **extra})

    def equals(self, other: "Condition") -> bool:
        """True where both are known to say the same, so that a network would answer both alike.

        No value is looked at: on a GPU every look waits for it.
        """
        return self is other or (self.says is not None and self.says == other.says)

    @staticmethod
    def cat(conditions: "Sequence[Condition]") -> "Condition":
        """The rows of all, in order. All must carry the same extras."""
        keys = conditions[0].extra.keys()
        if any(condition.extra.keys() != keys for condition in conditions):
            raise ValueError(f"conditions carry different extras: {[sorted(c.extra) for c in conditions]}")
        extra = {key: torch.cat([condition.extra[key] for condition in conditions]) for key in keys}
        said = [condition.says for condition in conditions]
        says = None if None in said else tuple(chain.from_iterable(filter(None, said)))
        return Condition(torch.cat([condition.embedding for condition in conditions]), extra, says)

    def _each(self, change: Callable[[Tensor], Tensor], says: tuple[Hashable, ...] | None) -> "Condition":
        """All tensors changed."""
        return Condition(
            change(self.embedding), {key: change(value) for key, value in self.extra.items()}, says
        )


@runtime_checkable
class DiffusionPrior(Protocol):
    """A conditional diffusion model."""

    @property
    def schedule(self) -> NoiseSchedule:
        """The diffusion process that it models."""
        ...

    def eps(
        self, x_t: Float[Tensor, "b *dims"], t: Int[Tensor, "b"], condition: Condition
    ) -> Float[Tensor, "b *dims"]:
        """The noise expected in x_t = alpha x + sigma eps, whatever the network itself predicts.

        t may differ from sample to sample; `condition` has b rows. The prior casts to what its network wants.
        """
        ...

    def embed(self, prompts: Sequence[str]) -> Condition:
        """One row a prompt; "" is the unconditional model. Rows that say their prompt (`Condition.says`) are
        evaluated once where two slots hold the same."""
        ...


@runtime_checkable
class ImagePrior(DiffusionPrior, Protocol):
    """A diffusion model of the latents of images."""

    image_size: int
    """Pixels a side."""
    latent_shape: tuple[int, int, int]
    """(channels, height, width) of encode's answer."""
    device: torch.device
    """Device on which it computes, and on which the answers of `eps` and `embed` lie."""
    dtype: torch.dtype
    fingerprint: str
    """Letters that change with the weights, known without asking the network: another name may hide the same
    ones, and the same name others."""

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c lh lw"]:
        """Latents of images in [0, 1] at image_size: posterior mean times scaling factor; differentiable.

        The images may lie on any device; the answer lies where they do.
        """
        ...

    def decode(self, latents: Float[Tensor, "b c lh lw"]) -> Float[Tensor, "b 3 h w"]:
        """Images, clamped to [0, 1], on the device of the latents, whichever that is."""
        ...

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """Raises UserError where a prompt is empty, too long, or holds a word unknown to the model."""
        ...
