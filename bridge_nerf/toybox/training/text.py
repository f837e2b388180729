"""The toybox's words as a CLIP tokenizer and a small CLIP text encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

WORD_END = "</w>"
MAX_TOKENS = 48
"""Room for the longest caption: every flaw named, with commas."""


def single_words(vocabulary: Mapping[str, Sequence[str]]) -> list[str]:
    """The single words of all entries, sorted."""
    return sorted({word for entries in vocabulary.values() for entry in entries for word in entry.split()})


def word_merges(words: Sequence[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, in order of rank, that make one token of each word.

    Each word is cut up by the merges so far; those that join its pieces come last, so no earlier word notices
    them. (A trainer would do, but numbers its tokens differently at each call.)
    """
    ranks: dict[tuple[str, str], int] = {}
    for word in words:
        pieces = [*word[:-1], word[-1] + WORD_END]
        while len(pieces) > 1:
            pairs = list(pairwise(pieces))
            place = min(range(len(pairs)), key=lambda k: ranks.get(pairs[k], len(ranks)))
            ranks.setdefault(pairs[place], len(ranks))
            pieces[place : place + 2] = ["".join(pairs[place])]
    return list(ranks)


def word_tokenizer(words: Sequence[str], max_tokens: int = MAX_TOKENS) -> Any:
    """A `CLIPTokenizer` with one token for each word and one for the comma.

    It is an ordinary CLIP vocabulary with merges, which the ordinary loader reads back.
    """
    from transformers import CLIPTokenizer

    entries = sorted({*words, ","})
    merges = word_merges(entries)
    letters = sorted({letter for entry in entries for letter in entry})
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + WORD_END for letter in letters)]
    tokens += dict.fromkeys("".join(pair) for pair in merges)
    build: Any = CLIPTokenizer  # its annotations are those of transformers 4
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return build(vocab=vocabulary, merges=merges, model_max_length=max_tokens)


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
