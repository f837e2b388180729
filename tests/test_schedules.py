import math

import pytest
import torch
from jaxtyping import TypeCheckError
from scipy import stats

from bridge_nerf.annealing import Ramp, TimestepRange
from bridge_nerf.errors import UserError
from bridge_nerf.schedules import NoiseSchedule, expand_like, sample_times
from bridge_nerf.seeding import generator

SCHEDULE = NoiseSchedule.scaled_linear()
T = torch.tensor([0, 20, 200, 500, 980, 999])
X = torch.randn(6, 2, 3, generator=generator(0, "x"), dtype=torch.float64)
NOISE = torch.randn(6, 2, 3, generator=generator(0, "noise"), dtype=torch.float64)


def test_scaled_linear_against_a_loop():
    product, table = 1.0, []
    for i in range(1000):
        product *= 1 - (0.00085**0.5 + i / 999 * (0.012**0.5 - 0.00085**0.5)) ** 2
        table.append(product)
    torch.testing.assert_close(SCHEDULE.alphas_cumprod, torch.tensor(table, dtype=torch.float64))
    assert SCHEDULE.num_timesteps == 1000


def test_stable_diffusions_numbers():
    t = torch.tensor([200, 999])
    assert SCHEDULE.sigma(t)[0].square().item() == pytest.approx(0.246, abs=5e-4)
    assert (SCHEDULE.alpha(t) ** 2)[1].item() == pytest.approx(0.00466, abs=5e-6)


def test_add_noise_sample_by_sample():
    x_t = SCHEDULE.add_noise(X, NOISE, T)
    for i, t in enumerate(T.tolist()):
        abar = SCHEDULE.alphas_cumprod[t].item()
        torch.testing.assert_close(x_t[i], math.sqrt(abar) * X[i] + math.sqrt(1 - abar) * NOISE[i])


def test_conversions_recover_what_made_x_t():
    x_t = SCHEDULE.add_noise(X, NOISE, T)
    v = expand_like(SCHEDULE.alpha(T), X) * NOISE - expand_like(SCHEDULE.sigma(T), X) * X
    torch.testing.assert_close(SCHEDULE.x0_from_eps(x_t, NOISE, T), X)
    torch.testing.assert_close(SCHEDULE.eps_from_x0(x_t, X, T), NOISE)
    torch.testing.assert_close(SCHEDULE.eps_from_v(x_t, v, T), NOISE)
    torch.testing.assert_close(SCHEDULE.v_from_eps(x_t, NOISE, T), v)


def test_conversions_are_inverse_for_any_prediction():
    prediction = torch.randn(6, 2, 3, generator=generator(0, "prediction"), dtype=torch.float64)
    there = SCHEDULE.v_from_eps(X, prediction, T)
    torch.testing.assert_close(SCHEDULE.eps_from_v(X, there, T), prediction)
    there = SCHEDULE.x0_from_eps(X, prediction, T)
    torch.testing.assert_close(SCHEDULE.eps_from_x0(X, there, T), prediction)


def test_answers_keep_the_dtype_of_the_sample():
    x = X.float()
    assert SCHEDULE.add_noise(x, x, T).dtype == SCHEDULE.v_from_eps(x, x, T).dtype == torch.float32


def test_a_wrong_shape_is_caught():
    with pytest.raises(TypeCheckError):
        SCHEDULE.add_noise(X, NOISE[:, :1], T)
    with pytest.raises(TypeCheckError):
        SCHEDULE.add_noise(X, NOISE, T[:5])


def test_ramp():
    ramp = Ramp(1.0, 0.2, begin=100, end=300)
    assert [ramp(step) for step in (0, 100, 200, 300, 10**6)] == pytest.approx([1, 1, 0.6, 0.2, 0.2])
    assert Ramp()(0) == Ramp()(7) == 1.0
    sudden = Ramp(1.0, 0.2, begin=5, end=5)
    assert [sudden(step) for step in (0, 4, 5, 9)] == [1.0, 1.0, 0.2, 0.2]


@pytest.mark.parametrize("steps", [(-1, 5), (5, 4), (0, -1)])
def test_a_ramp_that_runs_backwards_is_refused(steps):
    with pytest.raises(UserError, match=f"from step {steps[0]} to step {steps[1]}"):
        Ramp(1.0, 0.2, *steps)


def test_annealing_over_a_negative_number_of_steps_is_refused():
    with pytest.raises(UserError, match="--anneal-steps -5 makes no sense"):
        TimestepRange(anneal_steps=-5).check()


def test_range_anneals_its_upper_end_only():
    times = TimestepRange(0.02, 0.98, final_maximum=0.5, anneal_steps=1000)
    assert times.at(0) == pytest.approx((0.02, 0.98))
    assert times.at(500) == pytest.approx((0.02, 0.74))
    assert times.at(1000) == times.at(5000) == pytest.approx((0.02, 0.5))
    assert times.at(500) == times.at(500)


def test_range_without_annealing_ignores_the_final_maximum():
    assert TimestepRange(maximum=0.6).at(10**6) == (0.02, 0.6)


def test_range_draws_both_ends_and_is_uniform():
    draw = sample_times(TimestepRange(0.2, 0.4), 0, 20_000, 50, generator(0, "t"))
    counts = torch.bincount(draw, minlength=50)
    assert counts[:10].sum() == counts[21:].sum() == 0
    assert stats.chisquare(counts[10:21]).pvalue > 0.01


def test_range_draws_at_the_annealed_range():
    times = TimestepRange(0.1, 0.9, final_maximum=0.2, anneal_steps=10)
    assert sample_times(times, 0, 1000, 1000, generator(0)).max() > 800
    assert sample_times(times, 10, 1000, 1000, generator(0)).max() <= 200


def test_range_stays_inside_the_table():
    draw = sample_times(TimestepRange(0.0, 1.0, final_maximum=1.0), 0, 10_000, 10, generator(0, "t"))
    assert draw.unique().tolist() == list(range(10))


@pytest.mark.parametrize("limits", [(0.5, 0.4), (-0.1, 0.5), (0.1, 1.2)])
def test_impossible_ranges_are_named(limits):
    with pytest.raises(UserError, match="diffusion times|makes no sense"):
        TimestepRange(*limits).check()
