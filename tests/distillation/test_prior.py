import pytest
import torch

from bridge_nerf.distillation.prior import Condition

ROWS = Condition(torch.arange(6.0).view(3, 2), {"camera": torch.arange(3)})


def test_rows():
    assert len(ROWS) == 3
    assert ROWS[1].equals(Condition(torch.tensor([[2.0, 3.0]]), {"camera": torch.tensor([1])}))
    assert ROWS[1:].equals(ROWS[torch.tensor([1, 2])])


def test_expand():
    assert ROWS.expand(3) is ROWS
    assert torch.equal(ROWS[2].expand(4).extra["camera"], torch.tensor([2, 2, 2, 2]))
    with pytest.raises(ValueError, match="3 rows cannot serve 4 samples"):
        ROWS.expand(4)


def test_cat_undoes_slicing():
    assert Condition.cat([ROWS[0], ROWS[1:]]).equals(ROWS)
    with pytest.raises(ValueError, match="camera"):
        Condition.cat([ROWS, Condition(ROWS.embedding)])


def test_equality_is_of_values():
    assert ROWS.equals(ROWS[:])
    assert not ROWS.equals(Condition(ROWS.embedding))
    assert not ROWS.equals(Condition(ROWS.embedding, {"camera": torch.tensor([0, 1, 3])}))


def test_to_leaves_integers_alone():
    moved = ROWS.to(dtype=torch.float64)
    assert moved.embedding.dtype == torch.float64 and moved.extra["camera"].dtype == torch.int64
