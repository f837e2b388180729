"""Going on from a saved state, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.optim import Optimizer

AVERAGES = {"exp_avg", "exp_avg_sq"}
"""What Adam keeps of each parameter beside the number of its steps."""


def load_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Load what `state_dict` of an Adam of equal parameters answered after a step.

    Torch itself takes averages of any shape or none, and fails, or begins anew, at the next step.

    Raises:
        ValueError: It is of other parameters, or no such state.
    """
    usual = [dict(group) for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(dict(state))
        kept = [(parameter, dict(values)) for parameter, values in optimizer.state.items()]
        groups = list(zip(usual, optimizer.param_groups, strict=True))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise ValueError(f"the optimizer's state cannot be read: {error!r}") from error
    averages = [(p.shape, values.get(name)) for p, values in kept for name in AVERAGES]
    whole = all(torch.is_tensor(value) and value.shape == shape for shape, value in averages)
    if not kept or not whole or not all("step" in values for _, values in kept):
        raise ValueError("the optimizer's state is of other parameters, or missing")
    if any(
        type(now[name]) is not type(then[name]) for then, now in groups for name in then.keys() & now.keys()
    ):
        raise ValueError("the optimizer's numbers are of other types")
