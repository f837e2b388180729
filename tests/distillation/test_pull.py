"""What stage two does under Adam, as all published code has it; `test_convergence` has plain descent."""

import pytest

from bridge_nerf.distillation.config import ObjectiveConfig
from bridge_nerf.distillation.registry import stages_for

from .pull import distances, stage_two

AFTER = (100, 200)


def test_a_fixed_source_pulls_past_the_target_and_on_and_adam_hides_the_scale():
    paper, small = (distances(stage_two(stage_two_scale=s), after=AFTER) for s in (40.0, 1.0))
    assert paper[0] < 1 and paper[1] > 5
    assert paper == pytest.approx(small, rel=1e-3)


def test_a_lower_learning_rate_only_delays():
    slow = distances(stage_two(), lr=0.005, after=(100, 300))
    assert slow == pytest.approx(distances(stage_two(), lr=0.05, after=(10, 30)), abs=0.15)


def test_an_annealed_weight_ends_it():
    early, late = distances(
        stage_two(stage_two_final_weight=0.0, stage_two_anneal_steps=100), after=(150, 300)
    )
    assert early == pytest.approx(late, abs=0.01) and late < 1


@pytest.mark.parametrize(("scale", "anchor"), [(1.0, 1.0), (1.25, 1.0)])
def test_an_anchor_ends_it_where_the_formula_says(scale, anchor):
    stages = stage_two(stage_two_scale=scale, stage_two_anchor=anchor)
    assert distances(stages, after=(300,)) == pytest.approx([4 * abs(scale / anchor - 1)], abs=0.1)


def test_a_source_that_follows_ends_at_the_target():
    (end,) = distances(stages_for("vsd", ObjectiveConfig(guidance_scale=1.0)), follow=True, after=(300,))
    assert end < 0.02
