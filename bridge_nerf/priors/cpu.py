"""Kernels for networks on a CPU: attention in bfloat16, and convolutions in the faster order of memory."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import BFloat16
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

BLOCK_LOGITS = 2**20
"""Logits of a block for each thread, 2 MiB. A head with fewer goes to PyTorch's kernel, as fast there."""


def capabilities() -> Mapping[str, Any]:
    """Features of the CPU, name -> available; empty where torch is older than 2.11."""
    return getattr(torch.cpu, "get_capabilities", dict)()


def multiplies_bfloat16(device: torch.device) -> bool:
    """True for a CPU whose AVX-512 multiplies bfloat16."""
    return device.type == "cpu" and bool(capabilities().get("avx512_bf16"))


def fastest_attention(device: torch.device, dtype: torch.dtype) -> Callable[[], AbstractContextManager]:
    """The context in which a network answers fastest.

    On a CPU with bfloat16 but without AMX's tiles PyTorch's attention is as slow in bfloat16 as in float32,
    because the library that multiplies its blocks widens them first; plain matrix products are twice as fast.
    """
    slow = dtype == torch.bfloat16 and multiplies_bfloat16(device) and not capabilities().get("amx_bf16")
    return BlockedAttention if slow else nullcontext


class BlockedAttention(TorchFunctionMode):
    """Context in which long `scaled_dot_product_attention`s without a graph go block by block.

    It acts on every network that is called in this thread, and on no other thread.
    """

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call `func`, or the blocked attention in its place."""
        chosen = _attention if func is F.scaled_dot_product_attention else func
        return chosen(*args, **(kwargs or {}))


def blocked_attention(
    query: BFloat16[Tensor, "*heads q c"],
    key: BFloat16[Tensor, "*heads k c"],
    value: BFloat16[Tensor, "*heads k d"],
    scale: float | None = None,
) -> BFloat16[Tensor, "*heads q d"]:
    """softmax(scale query key^T) value (Vaswani et al. 2017, equation 1); scale defaults to 1/sqrt(c).

    A block is as many queries as have logits that stay in the cache; it sees all keys at once. Sums are in
    float32, but logits are rounded to bfloat16, as in attention that is written out (PyTorch's kernel keeps
    them): about twice the error of rounding query and key. No gradients, no forward mode, no vmap.
    """
    alpha = query.shape[-1] ** -0.5 if scale is None else scale
    answer = query.new_empty(*query.shape[:-1], value.shape[-1])
    rows = max(1, BLOCK_LOGITS * torch.get_num_threads() // key.shape[-2])
    nothing = query.new_empty(())
    # Made once: the system hands out memory of this size page by page, which took a sixth of the time.
    logits = query.new_empty(min(rows, query.shape[-2]), key.shape[-2])
    weights = torch.empty_like(logits)
    heads = (x.reshape(-1, *x.shape[-2:]) for x in (query, key, value, answer))
    for q, k, v, out in zip(*heads, strict=True):
        for q_block, out_block in zip(q.split(rows), out.split(rows), strict=True):
            n = len(q_block)
            torch.addmm(nothing, q_block, k.T, beta=0, alpha=alpha, out=logits[:n])
            torch.softmax(logits[:n], -1, out=weights[:n])
            torch.mm(weights[:n], v, out=out_block)
    return answer


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Drop-in for `scaled_dot_product_attention`, whose names these are."""
    inputs = query, key, value
    long = query.shape[-2] * key.shape[-2] >= BLOCK_LOGITS
    plain = attn_mask is None and not (dropout_p or is_causal or enable_gqa)
    graph = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    alike = all(x.shape[:-2] == query.shape[:-2] and x.dtype == torch.bfloat16 for x in inputs)
    if long and plain and alike and not graph:
        return blocked_attention(query, key, value, scale)
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
    )


def keep_channels_last(network: nn.Module) -> None:
    """Turn the answers of Diffusers' transformers to channels last, the order of the network's convolutions.

    They answer in the other order, and each convolution and each sum up to the next transformer would turn
    its input. (On a card group norms would turn them back.)
    """
    from diffusers import Transformer2DModel

    for module in network.modules():
        if isinstance(module, Transformer2DModel):
            module.register_forward_hook(_channels_last)


def _channels_last(module: Any, inputs: Any, answer: tuple[Tensor]) -> tuple[Tensor]:
    # A tuple, as the blocks of a UNet expect it.
    return (answer[0].contiguous(memory_format=torch.channels_last),)
