from hypothesis import given
from hypothesis import strategies as st

from bridge_nerf.distillation.epsilon import (
    NEGATIVE,
    NOISE,
    NULL,
    SOURCE,
    TARGET,
    Epsilon,
    Slot,
    Term,
    guided,
)

# Eighths are exact in binary, so that the laws hold to the last bit.
eighths = st.integers(-80, 80).map(lambda n: n / 8)
fractions = st.integers(0, 8).map(lambda n: n / 8)
epsilons = st.lists(st.builds(Term, st.sampled_from(Slot), fractions, eighths), max_size=6).map(
    lambda terms: Epsilon(tuple(terms))
)
ZERO = Epsilon()


@given(epsilons, epsilons, epsilons, eighths, eighths)
def test_estimates_form_a_vector_space(a, b, c, r, s):
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + ZERO == a
    assert a - a == ZERO
    assert r * (a + b) == r * a + r * b
    assert (r + s) * a == r * a + s * a
    assert r * (s * a) == (r * s) * a
    assert 1 * a == a
    assert 0 * a == ZERO
    assert hash(a + b) == hash(b + a)


@given(epsilons, epsilons, fractions, fractions, eighths)
def test_from_t_is_linear_and_later_starts_win(a, b, f, g, s):
    assert (a + s * b).from_t(f) == a.from_t(f) + s * b.from_t(f)
    assert a.from_t(f).from_t(g) == a.from_t(max(f, g))
    assert a.from_t(0.0) == a


def test_guidance():
    assert guided(1.0) == TARGET
    assert guided(0.0) == NULL
    assert guided(7.5) == TARGET + 6.5 * (TARGET - NULL)


def test_what_cancels_is_not_asked():
    assert (guided(4.0) - 3 * (TARGET - NULL) - NOISE).slots == {Slot.TARGET, Slot.NOISE}
    assert (SOURCE - SOURCE).slots == frozenset()


def test_spelling():
    assert str(guided(7.5) - NOISE) == "7.5 TARGET - 6.5 NULL - NOISE"
    assert str(TARGET - 2 * NEGATIVE.from_t(0.2)) == "TARGET - 2 NEGATIVE [t >= 0.2 T]"
    assert str(-1 * TARGET) == "- TARGET"
    assert str(ZERO) == "0"
