"""A look at a pipeline's folder without building its networks: complete, whole, and with its words."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from bridge_nerf.errors import UserError, first_line
from bridge_nerf.priors.families import T5, Family, tokenizer_of
from bridge_nerf.priors.memory import estimate
from bridge_nerf.priors.pipeline_files import check_folder, components_of, read_index


def inspect(folder: Path) -> str:
    """The pipeline in one line.

    Raises:
        UserError: A part is missing, cut short or does not fit.
    """
    family = check_folder(folder)
    size = estimate(folder, family, torch.float16)
    present = components_of(family, read_index(folder))
    tokenizers = [load_tokenizer(folder, family, name) for name in family.text_encoders if name in present]
    words = ", ".join(str(len(tokenizer)) for tokenizer in tokenizers)
    return f"{family.title}, {size} in half precision, tokenizers of {words} tokens"


def load_tokenizer(folder: Path, family: Family, text_encoder: str) -> Any:
    """The tokenizer of a text encoder's folder.

    Without its files transformers 5 returns a tokenizer of a few marks instead of an error, and every prompt
    would then be the same nonsense.

    Raises:
        UserError: It cannot be read or lacks words.
    """
    import transformers

    part, t5 = tokenizer_of(text_encoder), family.text_encoders[text_encoder] == T5
    kind: Any = transformers.T5Tokenizer if t5 else transformers.CLIPTokenizer
    with reading(part, folder):
        tokenizer = kind.from_pretrained(folder / part)
        config = json.loads((folder / text_encoder / "config.json").read_text(encoding="utf-8"))
        if type(expected := config["vocab_size"]) is not int:
            raise TypeError(f"vocab_size is {expected!r:.40}")
    # T5's table of embeddings is padded to a multiple of 128.
    if not expected - (127 if t5 else 0) <= len(tokenizer) <= expected:
        raise UserError(
            f"the {part} in {folder} has {len(tokenizer)} tokens, its text encoder {expected}: "
            "download the tokenizer files that belong to it"
        )
    return tokenizer


@contextmanager
def reading(part: str, folder: Path) -> Iterator[None]:
    """Context that turns the errors of libraries about a damaged file into one line."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise UserError(
            f"the {part} in {folder} cannot be read ({first_line(error)}): get it again"
        ) from error
