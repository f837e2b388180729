"""The toybox's words as a CLIP tokenizer and a small CLIP text encoder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

MAX_TOKENS = 48
"""Room for the longest caption: every flaw named, with commas."""


def single_words(vocabulary: Mapping[str, Sequence[str]]) -> list[str]:
    """The single words of all entries, sorted."""
    return sorted({word for entries in vocabulary.values() for entry in entries for word in entry.split()})


def word_tokenizer(words: Sequence[str], max_tokens: int = MAX_TOKENS) -> Any:
    """A `CLIPTokenizer` with one token for each word and one for the comma.

    Byte-pair training on a list of words goes on until each is one token: an ordinary CLIP vocabulary with
    merges, which the ordinary loader reads back.
    """
    from tokenizers.trainers import BpeTrainer
    from transformers import CLIPTokenizer

    backend = CLIPTokenizer().backend_tokenizer
    special = ["<|startoftext|>", "<|endoftext|>"]
    backend.train_from_iterator(
        [*words, ","],
        BpeTrainer(vocab_size=10_000, special_tokens=special, end_of_word_suffix="</w>", show_progress=False),
    )
    model = json.loads(backend.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    build: Any = CLIPTokenizer  # its annotations are those of transformers 4
    return build(vocab=model["vocab"], merges=merges, model_max_length=max_tokens)


def build_text_encoder(tokenizer: Any, width: int = 128, layers: int = 2) -> Any:
    """An untrained `CLIPTextModel`, `width` channels, for the tokenizer's vocabulary and length."""
    from transformers import CLIPTextConfig, CLIPTextModel

    configure: Any = CLIPTextConfig
    config = configure(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="eager",
    )
    return CLIPTextModel(config)
