from dataclasses import replace

import pytest
import torch

from bridge_nerf.distillation.epsilon import TARGET, guided
from bridge_nerf.distillation.objectives import sds
from bridge_nerf.distillation.perp_neg import PerpNeg, perpendicular
from bridge_nerf.distillation.problem import Point
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.errors import UserError

from .worlds import MIXED_T, MIXTURE, Counting, draws, problem, single

SAMPLE = Sample(draws("x", 6, 2), MIXED_T, draws("noise", 6, 2))
SCHEDULE = MIXTURE.schedule


def test_perpendicular():
    a, b = draws("a", 6, 2, 3), draws("b", 6, 2, 3)
    rest = perpendicular(a, b)
    torch.testing.assert_close((rest * b).sum((1, 2)), torch.zeros(6, dtype=torch.float64))
    assert torch.linalg.matrix_rank(torch.stack([a - rest, b]).flatten(2)[:, 0]) == 1, "it lost b alone"
    torch.testing.assert_close(perpendicular(a, torch.zeros_like(a)), a)


@pytest.mark.parametrize("strength", [0.0, 1.5])
def test_perp_neg_sample_by_sample(strength):
    prior = Counting()
    plain = problem(prior, TARGET="left", NULL="", NEGATIVE="high")
    wrapped = replace(plain, filters=(PerpNeg(strength),))
    gradient = sds(7.5).gradient(wrapped, SAMPLE).value
    assert prior.rows == [18]
    for i, row in enumerate(single(SAMPLE)):
        x_t, t = row.x_t(SCHEDULE), row.t
        target, null, negative = (MIXTURE.eps(x_t, t, MIXTURE.embed([text])) for text in ("left", "", "high"))
        towards, away = target - null, negative - null
        rest = away - (away @ towards.T) / (towards @ towards.T) * towards
        guidance = null + 7.5 * (towards - strength * rest)
        expected = SCHEDULE.sigma(t) ** 2 * (guidance - row.noise)
        torch.testing.assert_close(gradient[i : i + 1], expected)


def test_perp_neg_leaves_other_slots_alone():
    plain = problem(TARGET="left", NULL="", NEGATIVE="high", SOURCE="right")
    wrapped = replace(plain, filters=(PerpNeg(2.0),))
    for epsilon in (guided(0.0), guided(1.0) - guided(1.0)):
        values = (p.evaluate(epsilon, SAMPLE.x, MIXED_T) for p in (plain, wrapped))
        torch.testing.assert_close(*values)


def test_an_answer_is_filtered_once_however_often_it_is_asked():
    """Rescaled guidance asks TARGET twice at one point."""
    plain = problem(TARGET="left", NULL="", NEGATIVE="high")
    wrapped, point = replace(plain, filters=(PerpNeg(1.5),)), Point(SAMPLE.x, MIXED_T)
    (once,) = wrapped.evaluate_all([(TARGET, point)])
    for value in wrapped.evaluate_all([(TARGET, point), (TARGET, point)]):
        assert torch.equal(value, once)


def test_a_filter_names_the_slot_that_it_misses():
    wrapped = replace(problem(TARGET="left", NULL=""), filters=(PerpNeg(),))
    with pytest.raises(UserError, match="nothing answers NEGATIVE of PerpNeg"):
        wrapped.evaluate(TARGET, SAMPLE.x, MIXED_T)
