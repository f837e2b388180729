"""Every operation of ATen, of the backward pass too: refused where it mixes devices, counted where it is the
card's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.card.memory import DeviceMismatch, Ledger, anywhere, asynchronous, on_card, place, put, tensors_in

VIEWS = frozenset(
    [
        "alias",
        "as_strided",
        "detach",
        "diagonal",
        "expand",
        "lift_fresh",
        "permute",
        "select",
        "slice",
        "split",
        "split_with_sizes",
        "squeeze",
        "t",
        "transpose",
        "unbind",
        "unfold",
        "unsqueeze",
        "view",
        "view_as_complex",
        "view_as_real",
        "_unsafe_view",
        "_reshape_alias",
    ]
)
"""Operations without a kernel."""
WAITS = frozenset(
    [
        "_local_scalar_dense",
        "nonzero",
        "equal",
        "allclose",
        "masked_select",
        "_unique2",
        "unique_dim",
        "unique_consecutive",
        "bincount",
        "repeat_interleave",
    ]
)
"""Operations whose answer, or its size, the host must know at once."""
STRICT = frozenset(["cat", "stack", "embedding", "gather", "scatter", "index_select", "mm", "addmm", "bmm"])
"""Operations that do not take a single number in main memory beside tensors on the card."""
INDEXING = frozenset(
    ["index", "_unsafe_index", "index_put", "_unsafe_index_put", "_index_put_impl", "_unsafe_masked_index"]
)


class Kernels(TorchDispatchMode):
    """See above; below autograd, so that it sees what that computes.

    Raises:
        DeviceMismatch: CUDA would not take these tensors together.
    """

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        base = name.rstrip("_") if not name.startswith("__") else name
        given = tensors_in((args, kwargs))
        if base in ("copy", "_foreach_copy"):
            return self._copied(func, base, args, kwargs)
        card = any(map(on_card, given))
        if card:
            if base in INDEXING:
                self._check_indexing(base, *args)
            else:
                _check(name, given)
        out = func(*args, **kwargs)
        if not given:
            put(out, self.ledger.making)
            card = bool(self.ledger.making)
        elif all(map(anywhere, given)):
            put(out, None)
        elif card and (not name.endswith("_") or anywhere(given[0])):
            put(out, True)
        if card:
            self._count(base, args)
        return out

    def _count(self, base: str, args: Any) -> None:
        if base not in VIEWS:
            self.ledger.kernel(base)
        if base in WAITS or (base in INDEXING and _masks(base, *args)):
            self.ledger.wait(base)

    def _check_indexing(self, base: str, values: Tensor, indices: Any, *more: Any) -> None:
        at = [index for index in tensors_in(indices) if on_card(index) != on_card(values)]
        if at and not on_card(values):
            raise DeviceMismatch(f"{place(base)}: indices on cuda:0 for a tensor on cpu")
        for _ in at:
            self.ledger.crossing(True, f"{base} by indices in main memory", asynchronous=False)
        for given in tensors_in(more):
            if not on_card(given) and given.ndim:
                raise DeviceMismatch(f"{place(base)}: values on cpu for a tensor on cuda:0")

    def _copied(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        """A copy into a tensor: the one operation that takes both devices."""
        target, source, *more = args
        pairs = [(target, source)] if base == "copy" else list(zip(target, source, strict=True))
        non_blocking = bool(more[0] if more else kwargs.get("non_blocking", False))
        out = func(*args, **kwargs)
        for into, given in pairs:
            if anywhere(into) or anywhere(given):
                put(into, on_card(into) or on_card(given))
            elif on_card(into) != on_card(given):
                apart = asynchronous(given, on_card(into), non_blocking)
                self.ledger.crossing(on_card(into), base, apart)
            elif on_card(into):
                self.ledger.kernel(base)
        if not base.startswith("_foreach") and out is not target:  # the functional form
            put(out, on_card(target))
        return out


def _check(name: str, given: list[Tensor]) -> None:
    """Raises where a tensor lies in main memory; single numbers there are handed to a kernel by value."""
    inplace = name.endswith("_") and not (on_card(given[0]) or anywhere(given[0]))
    strict = name.rstrip("_") in STRICT
    here = [t for t in given if not (on_card(t) or anywhere(t)) and (t.ndim or strict or inplace)]
    if here:
        shapes = ", ".join(f"{'cuda:0' if on_card(t) else 'cpu'} {tuple(t.shape)}" for t in given)
        raise DeviceMismatch(f"{place(name)}: tensors on two devices, cuda:0 and cpu ({shapes})")


def _masks(base: str, values: Tensor, indices: Any, *more: Any) -> bool:
    """Whether the size of what is meant is known on the card alone: masks, but for a plain number put there,
    which needs no list of places."""
    masks = [index for index in tensors_in(indices) if index.dtype in (torch.bool, torch.uint8)]
    number = base.startswith("index_put") and more and more[0].numel() == 1 and not on_card(more[0])
    return bool(masks) and not number
