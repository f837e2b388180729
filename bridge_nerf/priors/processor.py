"""What the processor of this machine is good at."""

from collections.abc import Mapping
from typing import Any

import torch


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether this is a processor whose AVX-512 multiplies bfloat16."""
    return device.type == "cpu" and bool(capabilities().get("avx512_bf16"))


def multiplies_tiles(device: torch.device) -> bool:
    """Whether this is a processor whose AMX multiplies whole tiles of bfloat16."""
    return device.type == "cpu" and bool(capabilities().get("amx_bf16"))


def capabilities() -> Mapping[str, Any]:
    """Name of a feature -> whether the processor has it; empty where torch is older than 2.11."""
    return getattr(torch.cpu, "get_capabilities", dict)()
