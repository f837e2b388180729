"""Which memory a tensor lies in, noted on its storage, and what crossing from one to the other costs.

Views, parameters, `.data`, and what autograd saves share their storage, so that the note follows them.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

CARD, HOST = torch.device("cuda", 0), torch.device("cpu")
ROOT = Path(__file__).parents[2]
OURS = tuple(f"{ROOT / name}/" for name in ("bridge_nerf", "method_configs"))
"""Folders whose lines a tally names."""
BESIDE = (
    str(Path(__file__).parent / "memory.py"),
    *(str(Path(__file__).parent / f"{name}.py") for name in ("kernels", "functions", "runtime", "pretended")),
)
"""Files of the pretence itself."""


class DeviceMismatch(RuntimeError):
    """What CUDA refuses: an operation on tensors of two devices."""


class Tally:
    """What the host asked of the card, by the place in the source that asked."""

    def __init__(self) -> None:
        self.kernels: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()
        """Copies from main memory to the card."""
        self.waits: Counter[str] = Counter()
        """Points at which the host stands still until the card has done all that it was given."""

    def table(self, *names: str) -> str:
        """Lines "count file:line operation" of the named counters, most frequent first."""
        lines = []
        for name in names:
            counter: Counter[str] = getattr(self, name)
            lines.append(f"{counter.total()} {name}")
            lines += [f"  {count:4d}  {place}" for place, count in counter.most_common()]
        return "\n".join(lines)


def on_card(tensor: Tensor) -> bool:
    """Whether the tensor counts as lying in the card's memory."""
    return bool(getattr(tensor.untyped_storage(), "on_card", False))


def anywhere(tensor: Tensor) -> bool:
    """Whether the backward pass made the tensor of nothing: zeros, on the device of what they meet."""
    return getattr(tensor.untyped_storage(), "on_card", False) is None


def put(tree: Any, card: bool | None) -> Any:
    """The same tensors, noted as lying in the card's memory, in main memory, or (None) anywhere."""
    for tensor in tensors_in(tree):
        tensor.untyped_storage().on_card = card  # type: ignore[attr-defined]
    return tree


def tensors_in(tree: Any) -> list[Tensor]:
    """All tensors of nested containers."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def place(operation: str) -> str:
    """ "file:line operation" of the innermost line of the package, and of the library that it had called."""
    frame, library = sys._getframe(1), ""
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(OURS):
            ours = f"{Path(name).relative_to(ROOT)}:{frame.f_lineno}"
            return f"{ours} {operation}" + (f" (in {library})" if library else "")
        if not library and "site-packages/" in name and "/torch/" not in name and "/jaxtyping" not in name:
            library = f"{name.split('site-packages/')[-1]}:{frame.f_lineno}"
        if name.startswith(str(ROOT / "tests")) and name not in BESIDE and not library:
            library = f"{Path(name).relative_to(ROOT)}:{frame.f_lineno}"
        frame = frame.f_back
    return f"{library or 'torch'} {operation}"


class Ledger:
    """Keeps the tally, and what a call that makes tensors of nothing makes them on."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.making: bool | None = False
        """Whether tensors that are made of no other tensor lie on the card; None where nobody says."""

    @contextmanager
    def counted(self) -> Iterator[Tally]:
        """A tally of the block alone."""
        before, self.tally = self.tally, Tally()
        try:
            yield self.tally
        finally:
            self.tally = before

    @contextmanager
    def makes(self, card: bool | None) -> Iterator[None]:
        """Within the block such tensors lie there."""
        before, self.making = self.making, card
        try:
            yield
        finally:
            self.making = before

    def kernel(self, operation: str) -> None:
        """Something was computed on the card."""
        self.tally.kernels[place(operation)] += 1

    def wait(self, operation: str) -> None:
        """The host waited for the card."""
        self.tally.waits[place(operation)] += 1

    def crossing(self, to_card: bool, operation: str, asynchronous: bool) -> None:
        """A copy between the memories; the host waits for one that is not asynchronous."""
        if to_card:
            self.tally.copies[place(operation)] += 1
        if not asynchronous:
            self.wait(operation)


def asynchronous(source: Tensor, to_card: bool, non_blocking: bool) -> bool:
    """Whether a copy goes on while the host does: to the card out of pinned memory, and asked for.

    Towards the host it never counts as such: whoever reads the numbers must wait for them.
    """
    return to_card and non_blocking and getattr(source.untyped_storage(), "pinned", False)
