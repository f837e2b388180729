"""What is shown of an objective: the prior's answers, and the gradient."""

import pytest
import torch

from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.distillation.inspection import inspect
from bridge_nerf.distillation.objectives import bridge_second_stage, sds
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.schedules import expand_like

from .worlds import MIXED_T, MIXTURE, draws, problem

X = draws("x", 6, 2)
SAMPLE = Sample(X, MIXED_T, draws("noise", 6, 2))
LEFT, RIGHT, _ = MIXTURE.means


def guess(mean: torch.Tensor) -> torch.Tensor:
    """x0 expected of a Gaussian: m + alpha s^2 / C (x_t - alpha m)."""
    alpha, sigma = (expand_like(f(MIXED_T), X) for f in (MIXTURE.schedule.alpha, MIXTURE.schedule.sigma))
    share = alpha * 0.25 / (alpha**2 * 0.25 + sigma**2)
    return mean + share * (SAMPLE.x_t(MIXTURE.schedule) - alpha * mean)


def test_both_guesses_are_those_of_the_prior():
    p = problem(TARGET="left", SOURCE="right", NULL="")
    objective = bridge_second_stage(3.0)
    seen = inspect(objective, p, SAMPLE)
    torch.testing.assert_close(seen.target, guess(LEFT))
    torch.testing.assert_close(seen.source, guess(RIGHT))
    assert seen.source_slot == Slot.SOURCE
    assert torch.equal(seen.gradient, objective.gradient(p, SAMPLE).value)


@pytest.mark.parametrize(
    ("prompts", "slot", "mean"),
    [({"NEGATIVE": "high", "NULL": ""}, Slot.NEGATIVE, 2), ({"NULL": "right"}, Slot.NULL, 1)],
)
def test_what_stands_for_a_source_that_nobody_asks(prompts: dict[str, str], slot: Slot, mean: int):
    seen = inspect(sds(1.0), problem(TARGET="left", **prompts), SAMPLE)
    assert seen.source_slot == slot
    torch.testing.assert_close(seen.source, guess(MIXTURE.means[mean]))


def test_without_any_source_the_noise_leads_back():
    seen = inspect(sds(1.0), problem(TARGET="left"), SAMPLE)
    assert seen.source_slot == Slot.NOISE
    torch.testing.assert_close(seen.source, X)
