import pytest
import torch

from bridge_nerf.distillation.prior import Condition

ROWS = Condition(torch.arange(6.0).view(3, 2), {"camera": torch.arange(3)}, ("a", "b", "c"))


def values(condition: Condition) -> list:
    return [condition.embedding.tolist(), condition.extra["camera"].tolist(), condition.says]


def test_rows():
    assert len(ROWS) == 3
    assert values(ROWS[1]) == [[[2.0, 3.0]], [1], ("b",)]
    assert values(ROWS[-1]) == values(ROWS[2]) == [[[4.0, 5.0]], [2], ("c",)]
    assert values(ROWS[1:]) == [[[2.0, 3.0], [4.0, 5.0]], [1, 2], ("b", "c")]


def test_expand():
    assert ROWS.expand(3) is ROWS
    assert values(ROWS[2].expand(4)) == [[[4.0, 5.0]] * 4, [2] * 4, ("c",) * 4]
    with pytest.raises(ValueError, match="3 rows cannot serve 4 samples"):
        ROWS.expand(4)


def test_cat_undoes_slicing():
    assert values(Condition.cat([ROWS[0], ROWS[1:]])) == values(ROWS)
    assert Condition.cat([ROWS, Condition(ROWS.embedding, ROWS.extra)]).says is None
    with pytest.raises(ValueError, match="camera"):
        Condition.cat([ROWS, Condition(ROWS.embedding)])


def test_equality_is_of_what_is_said_and_looks_at_no_value():
    silent = Condition(ROWS.embedding, ROWS.extra)
    assert ROWS.equals(ROWS[:]) and silent.equals(silent)
    assert ROWS[1].expand(2).equals(Condition.cat([ROWS[1], ROWS[1]]))
    assert not ROWS.equals(ROWS[:2]) and not ROWS[0].equals(ROWS[1])
    assert not silent.equals(silent[:]) and not silent.equals(ROWS), "nobody knows"
    meta = Condition(torch.empty(3, 2, device="meta"), says=ROWS.says)
    assert meta.equals(meta[:])


def test_who_tells_more_says_something_else():
    more = ROWS.telling(camera=torch.tensor([0, 1, 3]))
    assert more.extra["camera"].tolist() == [0, 1, 3] and not more.equals(ROWS)


def test_to_leaves_integers_alone():
    moved = ROWS.to(dtype=torch.float64)
    assert moved.embedding.dtype == torch.float64 and moved.extra["camera"].dtype == torch.int64
