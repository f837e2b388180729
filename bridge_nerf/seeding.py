"""Random numbers as a pure function of who asks: a resumed run draws what an unbroken one would."""

import hashlib
import operator
from typing import SupportsIndex

import torch


def generator(seed: int, *keys: SupportsIndex | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator that depends on its arguments only.

    Args:
        seed: The run's seed.
        keys: What the numbers are for, e.g. `generator(seed, "noise", step)`. 1 and "1" are different keys.
        device: Where the generator lives. CPU and CUDA draw different numbers from equal seeds.

    Raises:
        TypeError: A key is neither a string nor an integer (a float has no unique spelling).
    """
    # operator.index: a NumPy integer must name the same stream as the Python integer it equals.
    name = repr(tuple(key if isinstance(key, str) else operator.index(key) for key in (seed, *keys)))
    digest = hashlib.sha256(name.encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)
