"""Going on from a saved state, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class ForeignState(ValueError):
    """A saved state that is of something else."""


AVERAGES = {"exp_avg", "exp_avg_sq"}
"""What Adam keeps of each parameter beside the number of its steps."""


def load_module(module: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Load a module's state, all of it and nothing else.

    Raises:
        ForeignState: A tensor is missing, of another shape or type, or of another module.
    """
    own = module.state_dict()
    odd = [n for n in own.keys() | state.keys() if _form(own.get(n)) != _form(state.get(n))]
    if odd:
        raise ForeignState(f"the states differ in {', '.join(sorted(odd)[:3])}")
    module.load_state_dict(state)


def _form(value: torch.Tensor | None) -> Any:
    return value if value is None else (value.shape, value.dtype, value.layout)


def load_scheduler(scheduler: LambdaLR, state: Mapping[str, Any]) -> None:
    """Load the state of a schedule of equally many groups of parameters.

    Raises:
        ForeignState: It is something else.
    """
    own, rates = scheduler.state_dict(), (state.get("base_lrs"), state.get("_last_lr"))
    same = (
        all(type(state.get(name)) is type(value) for name, value in own.items())
        and own.keys() == state.keys()
    )
    numbers = all(isinstance(rate, float | int) for of in rates if isinstance(of, list) for rate in of)
    if not same or not numbers or any(len(of or ()) != len(own["base_lrs"]) for of in rates):
        raise ForeignState("the schedule's state is of another schedule")
    scheduler.load_state_dict(dict(state))


def load_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Load what `state_dict` of an Adam of equal parameters answered after a step.

    Torch itself takes averages of any shape or none, and fails, or begins anew, at the next step.

    Raises:
        ForeignState: It is of other parameters, or no such state.
    """
    usual = [dict(group) for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(dict(state))
        kept = [(parameter, dict(values)) for parameter, values in optimizer.state.items()]
        groups = list(zip(usual, optimizer.param_groups, strict=True))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise ForeignState(f"the optimizer's state cannot be read: {error!r}") from error
    averages = [(p.shape, values.get(name)) for p, values in kept for name in AVERAGES]
    whole = all(torch.is_tensor(value) and value.shape == shape for shape, value in averages)
    if not kept or not whole or not all("step" in values for _, values in kept):
        raise ForeignState("the optimizer's state is of other parameters, or missing")
    if any(
        type(now[name]) is not type(then[name]) for then, now in groups for name in then.keys() & now.keys()
    ):
        raise ForeignState("the optimizer's numbers are of other types")
