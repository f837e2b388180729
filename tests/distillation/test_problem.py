import pytest
import torch

from bridge_nerf.distillation.epsilon import (
    ADAPTER,
    NEGATIVE,
    NOISE,
    NULL,
    PREVIOUS,
    SOURCE,
    TARGET,
    Slot,
    guided,
)
from bridge_nerf.distillation.problem import Problem
from bridge_nerf.errors import UserError
from bridge_nerf.priors.gaussian_mixture import GaussianMixture

from .worlds import MIXED_T, MIXTURE, Counting, draws, problem

X_T = draws("x", 6, 2)


def answer(prompt: str, x_t=X_T, t=MIXED_T, prior=MIXTURE):
    return prior.eps(x_t, t, prior.embed([prompt]).expand(len(x_t)))


def test_a_combination_is_the_combination_of_the_answers():
    p = problem(TARGET="left", NULL="", SOURCE="right", NEGATIVE="high")
    noise, previous = draws("noise", 6, 2), draws("previous", 6, 2)
    value = p.evaluate(
        guided(3) - 2 * SOURCE + NEGATIVE - 5 * NOISE + PREVIOUS, X_T, MIXED_T, noise, previous
    )
    expected = 3 * answer("left") - 2 * answer("") - 2 * answer("right") + answer("high")
    torch.testing.assert_close(value, expected - 5 * noise + previous)


def test_one_batched_call_answers_all_slots():
    prior = Counting()
    p = problem(prior, TARGET="left", NULL="", SOURCE="right", NEGATIVE="high")
    p.evaluate(guided(3) - SOURCE + NEGATIVE, X_T, MIXED_T)
    assert prior.rows == [24]


def test_only_what_is_asked_is_computed():
    prior = Counting()
    p = problem(prior, TARGET="left", NULL="", SOURCE="right", NEGATIVE="high")
    p.evaluate(TARGET - NOISE, X_T, MIXED_T, noise=X_T)
    p.evaluate(NOISE, X_T, MIXED_T, noise=X_T)
    assert prior.rows == [6]


def test_equal_conditions_share_their_answer():
    prior = Counting()
    p = problem(prior, TARGET="left", SOURCE="left", NULL="")
    value = p.evaluate(3 * TARGET - SOURCE + NULL, X_T, MIXED_T)
    assert prior.rows == [12]
    torch.testing.assert_close(value, 2 * answer("left") + answer(""))


def test_the_adapter_is_a_network_of_its_own():
    prior, adapter = Counting(), Counting(GaussianMixture.isotropic({"now": (1.0, 1.0)}, std=0.2))
    conditions = {Slot.TARGET: prior.embed(["left"]), Slot.ADAPTER: adapter.embed(["now"])}
    value = Problem(prior, conditions, adapter).evaluate(TARGET - ADAPTER, X_T, MIXED_T)
    assert prior.rows == adapter.rows == [6]
    torch.testing.assert_close(value, answer("left") - answer("now", prior=adapter.prior))


def test_gates_open_sample_by_sample():
    p = problem(NEGATIVE="left", TARGET="right")
    value = p.evaluate(TARGET - NEGATIVE.from_t(0.2), X_T, MIXED_T)
    gate = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0], dtype=torch.float64)[:, None]
    torch.testing.assert_close(value, answer("right") - gate * answer("left"))


def test_a_condition_for_each_sample():
    conditions = {Slot.TARGET: MIXTURE.embed(["left", "right", "high"] * 2), Slot.NULL: MIXTURE.embed([""])}
    value = Problem(MIXTURE, conditions).evaluate(TARGET, X_T, MIXED_T)
    torch.testing.assert_close(value[1:2], answer("right", X_T[1:2], MIXED_T[1:2]))


def test_too_few_conditions_for_the_batch():
    with pytest.raises(ValueError, match="4 rows cannot serve 6"):
        Problem(MIXTURE, {Slot.TARGET: MIXTURE.embed(["left"] * 4)}).evaluate(TARGET, X_T, MIXED_T)


@pytest.mark.parametrize("slot", [SOURCE, ADAPTER, NOISE, PREVIOUS])
def test_a_slot_without_an_answer_is_named(slot):
    with pytest.raises(UserError, match=f"nothing answers {slot}.*answered: TARGET"):
        problem(TARGET="left", ADAPTER="left").evaluate(TARGET - slot, X_T, MIXED_T)


def test_no_graph():
    value = problem(TARGET="left").evaluate(TARGET, X_T.clone().requires_grad_(), MIXED_T)
    assert not value.requires_grad
