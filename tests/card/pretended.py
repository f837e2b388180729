"""Code that thinks it has a CUDA card, on a machine without one.

Numbers, autograd and optimizers are the CPU's; that a tensor lies on the card is a note on its storage. What
CUDA would refuse raises; kernels, copies to the card and waits for it are counted by the place that asked.

Not seen: what is inside one operation of ATen; other threads (a viewer, a loader that pins, the app's
studio); the card's own kernels, their precision, speed and memory; where `torch.load` without a
`map_location` would put tensors; graphs and compiled code; a gradient that crosses by way of `copy_`; more
than one card. A gradient that a custom function answers on the wrong device raises where it meets another one
or an optimizer, not before. Random numbers are the CPU's, and autocast on the card is the CPU's, which casts
other operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.autograd

from tests.card.functions import Functions
from tests.card.kernels import Kernels
from tests.card.memory import Ledger
from tests.card.runtime import runtime


@contextmanager
def pretended_card() -> Iterator[Ledger]:
    """Within the block there is one card, "cuda:0"; the ledger keeps the tally of it."""
    ledger = Ledger()
    functions, run = Functions(ledger), torch.autograd._engine_run_backward

    def backward(roots: Any, *args: Any, **kwargs: Any) -> Any:
        # Torch takes the mode off while it answers `backward`; what the pass itself calls would not see it.
        with functions, ledger.makes(None):
            return run(roots, *args, **kwargs)

    with ExitStack() as stack:
        for (module, name), value in runtime(ledger).items():
            stack.enter_context(patch.object(module, name, value, create=not hasattr(module, name)))
        stack.enter_context(patch.object(torch.autograd, "_engine_run_backward", backward))
        stack.enter_context(_settings_kept())
        stack.enter_context(Kernels(ledger))
        stack.enter_context(functions)
        yield ledger


@contextmanager
def _settings_kept() -> Iterator[None]:
    """What `bridge_nerf.devices.tune` sets for the whole process is as it was afterwards."""
    precision, benchmark = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.benchmark = benchmark
