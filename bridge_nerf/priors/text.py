"""A text encoder and its tokenizer."""

from dataclasses import dataclass
from typing import Any

import torch

from bridge_nerf.errors import UserError
from bridge_nerf.priors.prompts import quote


@dataclass(frozen=True, eq=False)
class Text:
    """Reads prompts.

    Args:
        tokenizer: CLIPTokenizer or T5Tokenizer.
        encoder: Frozen. It rests where it was loaded and visits the prior's device only to read, so that it
            takes no memory there while training goes on, and a prompt can change at any time.
        limit: How many tokens it takes, marks included.
    """

    tokenizer: Any
    encoder: Any
    limit: int

    def check(self, prompt: str) -> None:
        """UserError where the prompt would be cut short."""
        marks = self.tokenizer.num_special_tokens_to_add()
        count, most = len(self.tokenizer(prompt, verbose=False).input_ids) - marks, self.limit - marks
        if count > most:
            raise UserError(
                f"the prompt {quote(prompt)} has {count} tokens, the text encoder takes {most}: shorten it"
            )

    @torch.no_grad()
    def read(self, prompt: str, device: torch.device, masked: bool = False) -> Any:
        """The encoder's output, with all its hidden states, for one prompt padded to its limit.

        Padding is read too unless `masked`.
        """
        told = self.tokenizer(prompt, padding="max_length", max_length=self.limit, return_tensors="pt").to(
            device
        )
        home = self.encoder.device
        self.encoder.to(device)
        try:
            mask = told.attention_mask if masked else None
            return self.encoder(told.input_ids, attention_mask=mask, output_hidden_states=True)
        finally:
            self.encoder.to(home)
