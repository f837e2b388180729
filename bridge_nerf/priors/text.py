"""Reading of prompts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.errors import UserError
from bridge_nerf.priors.prompts import quote
from bridge_nerf.wording import JoinedPrompt

DESCRIPTOR_FLAGS = (
    "the descriptors (--target-descriptors, --source-descriptors; in ns-train --pipeline.target-descriptors, "
    "--pipeline.source-descriptors)"
)
"""Additions to a prompt, by the flags that change them."""


@dataclass(frozen=True, eq=False)
class Text:
    """A text encoder with its tokenizer, which reads prompts.

    Args:
        tokenizer: CLIPTokenizer or T5Tokenizer.
        encoder: Frozen. It rests where it was loaded and visits the prior's device only to read, so that it
            takes no memory there while training goes on, and a prompt can change at any time.
        limit: Number of tokens that it takes, marks included.
    """

    tokenizer: Any
    encoder: Any
    limit: int

    def check(self, prompt: str) -> None:
        """Raise UserError for a prompt that would be cut short."""
        count, most = self._count(prompt), self.limit - self.tokenizer.num_special_tokens_to_add()
        if count <= most:
            return
        user, *added = prompt.parts if isinstance(prompt, JoinedPrompt) else (prompt,)
        if not added:
            raise UserError(
                f"the prompt {quote(prompt)} has {count} tokens, the text encoder takes {most}: shorten it"
            )
        own = self._count(user)
        left = most - (count - own)
        raise UserError(
            f"the prompt {quote(user)} has {own} tokens and what is added to it {count - own} "
            f"({', '.join(map(quote, added))}), the text encoder takes {most} in all: shorten "
            f"{f'the prompt to {left}, or ' if left > 0 else ''}{DESCRIPTOR_FLAGS}"
        )

    def _count(self, text: str) -> int:
        """Number of tokens, without marks."""
        marks = self.tokenizer.num_special_tokens_to_add()
        return len(self.tokenizer(str(text), verbose=False).input_ids) - marks

    @torch.no_grad()
    def read(
        self,
        prompts: Sequence[str],
        device: torch.device,
        select: Callable[[Any], Sequence[Tensor]],
        masked: bool = False,
    ) -> list[Float[Tensor, "b *_"]]:
        """A row for each prompt of the tensors that `select` takes from the encoder's output.

        The output includes all hidden states. The encoder visits the device once for all prompts; each is
        padded to the limit and read alone. Padding is read too unless `masked`.
        """
        home = self.encoder.device
        self.encoder.to(device)
        try:
            rows = [select(self._output(prompt, device, masked)) for prompt in prompts]
            return [torch.cat(values) for values in zip(*rows, strict=True)]
        finally:
            self.encoder.to(home)

    def _output(self, prompt: str, device: torch.device, masked: bool) -> Any:
        options = {"padding": "max_length", "max_length": self.limit, "return_tensors": "pt"}
        tokens = self.tokenizer(prompt, **options).to(device)
        mask = tokens.attention_mask if masked else None
        return self.encoder(tokens.input_ids, attention_mask=mask, output_hidden_states=True)


def last_but_one_and_pooled(output: Any) -> Sequence[Tensor]:
    """The outputs of a CLIP with a projection that condition the XL and Stable Diffusion 3."""
    return output.hidden_states[-2], output.text_embeds
