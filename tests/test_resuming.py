"""Saved states fit as a whole, or are refused."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch

from bridge_nerf.errors import UserError
from bridge_nerf.resuming import after_a_step, fitted


def stepped(*shapes: tuple[int, ...]) -> torch.optim.Optimizer:
    """An optimizer that has made a step with parameters of these shapes."""
    parameters = [torch.nn.Parameter(torch.ones(shape)) for shape in shapes]
    optimizer = torch.optim.AdamW(parameters, lr=0.1)
    torch.stack([parameter.square().sum() for parameter in parameters]).sum().backward()
    optimizer.step()
    return optimizer


def test_a_state_of_equal_parameters_fits_an_optimizer_that_has_made_no_step() -> None:
    state = stepped((2, 3), (4,)).state_dict()
    fresh = torch.optim.AdamW([torch.nn.Parameter(torch.ones(shape)) for shape in ((2, 3), (4,))], lr=0.1)
    fresh.load_state_dict(fitted(state, after_a_step(fresh), "optimizer"))
    assert fresh.state_dict().keys() == state.keys()
    for mine, theirs in zip(fresh.state_dict()["state"].values(), state["state"].values(), strict=True):
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_tensors_may_lie_in_another_order() -> None:
    optimizer = stepped((2, 3, 4, 5))
    state = deepcopy(optimizer.state_dict())
    averages = state["state"][0]
    averages["exp_avg"] = averages["exp_avg"].to(memory_format=torch.channels_last)
    averages["exp_avg_sq"] = averages["exp_avg_sq"].repeat(2, 1, 1, 1)[::2]
    found = fitted(state, after_a_step(optimizer), "optimizer")["state"][0]
    assert torch.equal(found["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])


def test_a_whole_number_may_be_noted_as_a_float() -> None:
    assert fitted({"weight_decay": 0.0}, {"weight_decay": 0}, "group") == {"weight_decay": 0}
    assert isinstance(fitted(3.0, 3, "last_epoch"), int)


def put(*path: Any, value: Any) -> Callable[[Any], None]:
    """A change of the entry that lies at the end of the path."""

    def change(state: Any) -> None:
        for key in path[:-1]:
            state = state[key]
        state[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("state", value={}), "optimizer.state lacks or has besides: 0, 1"),
        (put("state", 1, value=4), "optimizer.state.1 lacks or has besides: exp_avg"),
        (put("state", 0, "exp_avg", value=3), "optimizer.state.0.exp_avg is no plain tensor"),
        (put("state", 0, "exp_avg", value=torch.ones(3, 2)), "is float32 of 3x2, not float32 of 2x3"),
        (put("state", 0, "exp_avg", value=torch.ones(2, 3).double()), "is float64 of 2x3"),
        (put("state", 0, "exp_avg", value=torch.full((2, 3), torch.nan)), "is not finite"),
        (put("state", 0, "exp_avg", value=torch.ones(2, 3).to_sparse()), "is no plain tensor"),
        (put("state", 0, "exp_avg", value=torch.ones(3).expand(2, 3)), "overlaps itself"),
        (put("param_groups", value=3), "optimizer.param_groups is no list of 1"),
        (put("param_groups", 0, value={}), "lacks or has besides: betas, "),
        (put("param_groups", 0, "lr", value="fast"), "lacks or has besides: lr"),
        (put("param_groups", 0, "lr", value=torch.ones(2)), "which is no number"),
        (put("param_groups", 0, "lr", value=float("inf")), "which is no number"),
        (put("param_groups", 0, "eps", value=2**70), "which is too large"),
        (put("param_groups", 0, "eps", value=10**5000), "is a number of 16610 bits, which is too large"),
        (put("param_groups", 0, "params", 1, value=0.5), "params.1 is 0.5, which is no whole number"),
        (put("param_groups", 0, "params", value=[1, 0]), "params are not [0, 1]"),
    ],
)
def test_other_states_are_refused_in_one_line(change, said) -> None:
    optimizer = stepped((2, 3), (4,))
    state = deepcopy(optimizer.state_dict())
    change(state)
    with pytest.raises(UserError) as caught:
        fitted(state, after_a_step(optimizer), "optimizer")
    assert said in str(caught.value) and "\n" not in str(caught.value)
