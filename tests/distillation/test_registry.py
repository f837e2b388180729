from importlib.metadata import EntryPoint

import pytest

from bridge_nerf import registries
from bridge_nerf.annealing import Ramp
from bridge_nerf.distillation import registry
from bridge_nerf.distillation.config import ObjectiveConfig
from bridge_nerf.distillation.epsilon import SOURCE, TARGET
from bridge_nerf.distillation.objectives import Objective, bridge_second_stage, sds
from bridge_nerf.distillation.registry import (
    OBJECTIVES,
    Active,
    ObjectiveEntry,
    Stage,
    Stages,
    guidance_of,
    stages_for,
)
from bridge_nerf.errors import UserError
from bridge_nerf.registries import Registry


def test_bridge_is_sds_then_stage_two():
    stages = stages_for(
        "bridge",
        ObjectiveConfig(guidance_scale=20.0, stage_start=600, stage_two_scale=3.0, stage_two_anchor=1.0),
    )
    assert stages.at(0) == stages.at(599) == Active(sds(20.0), 1.0, 0)
    assert stages.at(600) == stages.at(10**6) == Active(bridge_second_stage(3.0, anchor=1.0), 1.0, 1)


def test_sds_never_changes():
    assert stages_for("sds", ObjectiveConfig(guidance_scale=20.0, stage_start=5)).at(10**6) == Active(
        sds(20.0), 1.0, 0
    )


def test_stage_two_anneals_from_its_own_start():
    stages = stages_for(
        "bridge", ObjectiveConfig(stage_start=100, stage_two_final_weight=0.0, stage_two_anneal_steps=50)
    )
    weights = [stages.at(step).weight for step in (0, 99, 100, 125, 150, 10**6)]
    assert weights == pytest.approx([1, 1, 1, 0.5, 0, 0])


def test_stage_two_alone():
    assert stages_for("bridge", ObjectiveConfig(stage_start=0)).at(0).index == 1


def test_a_resumed_run_sees_what_an_unbroken_one_saw():
    """In any order, from any start: the answer depends on the step alone."""
    options = {"stage_start": 40, "stage_two_final_weight": 0.1, "stage_two_anneal_steps": 30}
    unbroken = [stages_for("bridge", ObjectiveConfig(**options)).at(step) for step in range(100)]
    resumed = stages_for("bridge", ObjectiveConfig(**options))
    assert [resumed.at(step) for step in reversed(range(100))] == unbroken[::-1]


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(UserError, match=r"'sdss'.*bridge, .*sds"):
        stages_for("sdss")
    with pytest.raises(TypeError, match="guidance"):
        stages_for("sds", ObjectiveConfig(guidance=3.0))


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
    with pytest.raises(UserError, match=next(iter(option)).replace("_", "[-_]")):
        stages_for("sds", ObjectiveConfig(**option))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_method_acts_from_the_first_step(name):
    assert stages_for(name).at(0).index == 0


@pytest.mark.parametrize("starts", [(), (5,), (0, 20, 10)])
def test_stages_must_be_in_order(starts):
    with pytest.raises(UserError, match="must start at 0"):
        Stages(tuple(Stage(sds(1.0), start, Ramp()) for start in starts))


PLUGIN = ObjectiveEntry(lambda config, s: Objective(s * TARGET, SOURCE), 3.0)
"""An objective of another package."""
BROKEN = "not an entry"


@pytest.fixture
def installed(monkeypatch):
    """Objectives of installed packages, in a registry of their own: name -> attribute of this module."""

    def install(**attributes: str) -> None:
        points = [EntryPoint(name, f"{__name__}:{value}", "group") for name, value in attributes.items()]
        monkeypatch.setattr(registries, "entry_points", lambda group: points)
        own = Registry("objective", "group", ObjectiveEntry, {"csd": OBJECTIVES["csd"]})
        monkeypatch.setattr(registry, "OBJECTIVES", own)

    return install


def test_an_objective_is_registered_with_the_numbers_of_all_others(installed):
    installed()
    mine = ObjectiveEntry(lambda config, s: Objective(s * TARGET, config.stage_two_scale * SOURCE), 2.0)
    registry.OBJECTIVES.register("mine", mine)
    assert guidance_of("mine") == 2.0
    (stage,) = stages_for("mine", ObjectiveConfig(gradient_clip=0.5)).stages
    assert stage.objective.target == 2 * TARGET and stage.objective.source == 40 * SOURCE
    assert stage.objective.transforms
    for taken in ("mine", "csd", "a:b", ""):
        with pytest.raises(UserError, match=f'"{taken}" cannot name a new objective.*other than csd, mine'):
            registry.OBJECTIVES.register(taken, mine)


def test_objectives_of_installed_packages_are_found(installed):
    installed(theirs="PLUGIN", more="PLUGIN")
    assert stages_for("theirs").at(0).objective == Objective(3 * TARGET, SOURCE)
    assert set(registry.OBJECTIVES) == {"csd", "theirs", "more"} and len(registry.OBJECTIVES) == 3


@pytest.mark.parametrize(
    ("attribute", "reason"), [("BROKEN", "is a str, not an ObjectiveEntry"), ("NOTHING", "AttributeError")]
)
def test_a_broken_package_is_named_in_one_line(installed, attribute, reason):
    installed(theirs="PLUGIN", bad=attribute)
    assert stages_for("csd") and stages_for("theirs")
    with pytest.raises(
        UserError, match=f'"bad" of the package tests.* cannot be loaded .*{reason}'
    ) as caught:
        stages_for("bad")
    assert "\n" not in str(caught.value) and "uninstall" in str(caught.value)
    with pytest.raises(UserError, match="unknown objective 'alchemy'"):
        stages_for("alchemy")
