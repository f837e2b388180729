import pytest

from bridge_nerf.distillation.objectives import bridge_second_stage, sds
from bridge_nerf.distillation.registry import OBJECTIVES, Active, Stage, Stages, stages_for
from bridge_nerf.errors import UserError
from bridge_nerf.schedules import Ramp


def test_bridge_is_sds_then_stage_two():
    stages = stages_for(
        "bridge", guidance_scale=20.0, stage_start=600, stage_two_scale=3.0, stage_two_anchor=1.0
    )
    assert stages.at(0) == stages.at(599) == Active(sds(20.0), 1.0, 0)
    assert stages.at(600) == stages.at(10**6) == Active(bridge_second_stage(3.0, anchor=1.0), 1.0, 1)


def test_sds_never_changes():
    assert stages_for("sds", guidance_scale=20.0, stage_start=5).at(10**6) == Active(sds(20.0), 1.0, 0)


def test_stage_two_anneals_from_its_own_start():
    stages = stages_for("bridge", stage_start=100, stage_two_final_weight=0.0, stage_two_anneal_steps=50)
    weights = [stages.at(step).weight for step in (0, 99, 100, 125, 150, 10**6)]
    assert weights == pytest.approx([1, 1, 1, 0.5, 0, 0])


def test_stage_two_alone():
    assert stages_for("bridge", stage_start=0).at(0).index == 1


def test_a_resumed_run_sees_what_an_unbroken_one_saw():
    """In any order, from any start: the answer depends on the step alone."""
    options = {"stage_start": 40, "stage_two_final_weight": 0.1, "stage_two_anneal_steps": 30}
    unbroken = [stages_for("bridge", **options).at(step) for step in range(100)]
    resumed = stages_for("bridge", **options)
    assert [resumed.at(step) for step in reversed(range(100))] == unbroken[::-1]


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(UserError, match=r"'sdss'.*bridge, .*sds"):
        stages_for("sdss")
    with pytest.raises(TypeError, match="guidance"):
        stages_for("sds", guidance=3.0)


@pytest.mark.parametrize(
    "option",
    [
        {"ode_steps": 0},
        {"weighting": "x"},
        {"gradient_clip": -1.0},
        {"stage_start": -4},
        {"guidance_scale": float("nan")},
    ],
)
def test_numbers_that_make_no_sense(option):
    with pytest.raises(UserError, match=next(iter(option))):
        stages_for("sds", **option)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_method_acts_from_the_first_step(name):
    assert stages_for(name).at(0).index == 0


@pytest.mark.parametrize("starts", [(), (5,), (0, 20, 10)])
def test_stages_must_be_in_order(starts):
    with pytest.raises(UserError, match="must start at 0"):
        Stages(tuple(Stage(sds(1.0), start, Ramp()) for start in starts))
