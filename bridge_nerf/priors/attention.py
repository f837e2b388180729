"""Attention in bfloat16 on a processor that multiplies it, but not in tiles.

There PyTorch's own kernel takes as long in bfloat16 as in float32, for the library that multiplies its blocks
widens them first; plain matrix products are twice as fast. So attention is composed of these, as many queries
at a time as have logits that stay in the cache.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import BFloat16
from torch import Tensor
from torch.overrides import TorchFunctionMode

LOGITS = 2**20
"""Of a block for each thread, 2 MiB. A head with fewer in all goes to PyTorch's kernel, as fast there."""


class BlockedAttention(TorchFunctionMode):
    """While this is entered, long `scaled_dot_product_attention`s without a graph go block by block.

    Whichever network makes the calls; other threads see nothing of it.
    """

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """What `func` answers."""
        chosen = _attention if func is F.scaled_dot_product_attention else func
        return chosen(*args, **(kwargs or {}))


def blocked_attention(
    query: BFloat16[Tensor, "*heads q c"],
    key: BFloat16[Tensor, "*heads k c"],
    value: BFloat16[Tensor, "*heads k d"],
    scale: float | None = None,
) -> BFloat16[Tensor, "*heads q d"]:
    """softmax(scale query key^T) value (Vaswani et al. 2017, equation 1); scale is 1/sqrt(c) unless given.

    A block of queries sees all keys at once. Sums are in float32, but logits are rounded to bfloat16, as in
    attention that is written out (PyTorch's kernel keeps them): about twice the error that rounding query and
    key has made already. No gradients, no forward mode, no vmap.
    """
    alpha = query.shape[-1] ** -0.5 if scale is None else scale
    answer = query.new_empty(*query.shape[:-1], value.shape[-1])
    rows = max(1, LOGITS * torch.get_num_threads() // key.shape[-2])
    nothing = query.new_empty(())
    # Made once: the system hands out memory of this size page by page, which took a sixth of the time.
    logits = query.new_empty(min(rows, query.shape[-2]), key.shape[-2])
    weights = torch.empty_like(logits)
    heads = (x.reshape(-1, *x.shape[-2:]) for x in (query, key, value, answer))
    for q, k, v, out in zip(*heads, strict=True):
        for asking, answered in zip(q.split(rows), out.split(rows), strict=True):
            n = len(asking)
            torch.addmm(nothing, asking, k.T, beta=0, alpha=alpha, out=logits[:n])
            torch.softmax(logits[:n], -1, out=weights[:n])
            torch.mm(weights[:n], v, out=answered)
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
    """As `scaled_dot_product_attention`, whose names these are."""
    long = query.shape[-2] * key.shape[-2] >= LOGITS
    plain = attn_mask is None and not (dropout_p or is_causal or enable_gqa)
    given = query, key, value
    graph = torch.is_grad_enabled() and any(x.requires_grad for x in given)
    alike = all(x.shape[:-2] == query.shape[:-2] and x.dtype == torch.bfloat16 for x in given)
    if long and plain and alike and not graph:
        return blocked_attention(query, key, value, scale)
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
    )
