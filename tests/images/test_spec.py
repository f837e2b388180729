"""Specifications and their numbers."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, fields, replace

import pytest

from bridge_nerf.distillation.registry import OBJECTIVES, StageOptions, stages_for
from bridge_nerf.errors import UserError
from bridge_nerf.images.recipe import (
    MOMENTS,
    PAPER,
    TOYBOX,
    Recipe,
    names,
    recipe_for,
    with_numbers,
    with_steps,
)
from bridge_nerf.images.spec import Spec, slug, subjects_for
from bridge_nerf.images.wishes import Wishes
from bridge_nerf.paths import asset
from tests.images.conftest import SPEC


def test_a_specification_survives_json():
    spec = replace(SPEC, views=("180",), source="a.png", source_hash="00", canvas="pixels")
    assert Spec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize("text", ["{}", "[]", "no", '{"subjects": 3}'])
def test_foreign_notes_are_refused(text):
    with pytest.raises(UserError, match="cannot be read"):
        Spec.from_json(text)


def test_a_note_of_a_preset_that_was_another_run_is_refused():
    noted = json.loads(SPEC.to_json()) | {"objective": "sds:release"}
    noted["recipe"]["stages"] = asdict(StageOptions())
    assert Spec.from_json(json.dumps(noted)).objective == "sds:release"
    del noted["recipe"]["weight_decay"]
    with pytest.raises(UserError, match="the preset sds:release was another run then"):
        Spec.from_json(json.dumps(noted))
    noted["objective"] = "sds"
    assert Spec.from_json(json.dumps(noted)).recipe.weight_decay == 0


def test_names_tell_specifications_apart():
    other = replace(SPEC, recipe=replace(SPEC.recipe, learning_rate=0.2))
    assert SPEC.name != other.name and SPEC.name.startswith("image-a-ball-bridge-s3-")
    assert slug("Ärger/../x") == "rger-x" and slug("...") == "untitled"


def test_impossible_specifications_are_refused():
    with pytest.raises(UserError, match="at least 1"):
        replace(SPEC, subjects=subjects_for(("a ball",), 0, 0))
    with pytest.raises(UserError, match="every image needs 2 prompts"):
        replace(SPEC, views=("0", "180"))


def test_numbers_are_replaced_by_name():
    recipe = with_numbers(
        Recipe(), ["learning_rate=0.5", "stages.stage_start=7", "times.minimum=0.1", "stages.unit_norm=true"]
    )
    assert (recipe.learning_rate, recipe.stages.stage_start, recipe.times.minimum) == (0.5, 7, 0.1)
    assert recipe.stages.unit_norm is True
    assert with_numbers(Recipe(), ["stages.guidance_scale=3"]).stages.guidance_scale == 3.0
    assert "stages.stage_start" in names() and "steps" in names() and "stages" not in names()


@pytest.mark.parametrize(
    "assignment, words",
    [
        ("speed=3", "unknown number 'speed=3'; give name=value with one of steps, "),
        ("steps", "unknown number 'steps'"),
        ("stages=3", "unknown number"),
        ("stages.nothing=3", "unknown number"),
        ("steps=many", "steps = 'many' is no int"),
        ("stages.unit_norm=perhaps", "is no bool"),
        ("steps=0", "steps = 0 is impossible"),
        ("learning_rate=nan", "learning_rate = nan is impossible"),
        ("rest=2", "rest = 2.0 is impossible; give a number from 0 to 1"),
        ("errors_every=-1", "errors_every = -1 is impossible"),
        ("steps=" + 400 * "9", "is impossible; give a number from 1 to 1000000000"),
        ("stages.guidance_rescale=7", "guidance_rescale 7 is no share"),
        ("stages.negative_share=-0.1", "negative_share -0.1 is no share"),
        ("stages.negative_anneal_steps=-1", "negative_anneal_steps -1 makes no sense"),
        ("stages.stage_two_anneal_steps=-1", "stage_two_anneal_steps -1 makes no sense"),
        ("times.minimum=3", "fractions must obey"),
    ],
)
def test_impossible_numbers_are_one_line(assignment, words):
    with pytest.raises(UserError) as caught:
        with_numbers(Recipe(), [assignment])
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_number_given_twice_is_refused():
    with pytest.raises(UserError, match="steps is given twice"):
        with_numbers(Recipe(), ["steps=5", "rest=1", "steps=6"])


def test_a_stretched_recipe_keeps_its_shares():
    recipe = with_numbers(Recipe(), ["stages.stage_start=500", "times.anneal_steps=250"])
    half = with_steps(recipe, 500)
    assert (half.steps, half.stages.stage_start, half.times.anneal_steps) == (500, 250, 125)
    assert with_steps(half, 1000) == recipe


def test_every_number_of_stages_that_counts_steps_is_stretched():
    counting = {f.name for f in fields(StageOptions) if f.name.endswith(("_start", "_steps"))}
    assert counting - {"ode_steps"} == set(MOMENTS)


@pytest.mark.parametrize("table", [PAPER, TOYBOX])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_has_stages_in_every_recipe(table, objective):
    for recipe in table.values():
        assert stages_for(objective, **asdict(recipe.stages)).stages


def test_wishes_override_what_suits_the_prior():
    recipe = Wishes(steps=10, guidance_scale=2.0, source_descriptors="bad", set=("rest=1",)).recipe(
        "toybox", "image"
    )
    assert (recipe.steps, recipe.stages.guidance_scale, recipe.source_descriptors) == (10, 2.0, "bad")
    assert recipe.rest == 1.0 and recipe.target_descriptors == TOYBOX["image"].target_descriptors
    assert recipe_for("some/where", "image") == PAPER["image"]


def test_numbers_follow_the_priors_world_and_not_its_name(tmp_path):
    shutil.copytree(asset("toybox/prior"), tmp_path / "mine")
    assert recipe_for(str(tmp_path / "mine"), "image") == TOYBOX["image"]
    (tmp_path / "mine" / "words.json").write_text('{"objects": ["dog"]}')
    assert recipe_for(str(tmp_path / "mine"), "image") == PAPER["image"]
    assert recipe_for(str(tmp_path), "image") == PAPER["image"]


@pytest.mark.parametrize(
    ("objective", "wishes", "said"),
    [
        ("bridge", {"negative_prompt": "ugly"}, "--negative-prompt changes nothing in bridge"),
        ("vsd", {"set": ("stages.stage_start=150",)}, "--set stages.stage_start changes nothing in vsd"),
        ("sds", {"set": ("adapter_rate=0.1",)}, "--set adapter_rate changes nothing in sds"),
        ("bridge:release", {"guidance_scale": 5.0}, "leave --guidance-scale out"),
        ("bridge:release", {"set": ("times.minimum=0.1",)}, "leave --set times.minimum out"),
        ("bridge:release-3d", {}, "a preset for objects; choose bridge:release, "),
        (
            "sds",
            {"set": ("stages.negative_share=0.5",)},
            "--set stages.negative_share changes nothing in sds",
        ),
        ("sds", {"steps": 9, "set": ("steps=5",)}, "--steps and --set steps say the same"),
        ("sds", {"canvas": "network", "set": ("initial_scale=2",)}, "--set initial_scale is of noise"),
        ("alchemy", {"guidance_scale": 5.0}, "unknown method"),
    ],
)
def test_what_would_change_nothing_is_refused_before_anything_is_loaded(objective, wishes, said):
    with pytest.raises(UserError, match=said):
        Wishes(**wishes).check({"image": [objective]}, ["a ball"])


def test_a_painting_starts_in_stage_two_and_hears_nothing_of_stage_one():
    with pytest.raises(UserError, match="--guidance-scale changes nothing in bridge"):
        Wishes(guidance_scale=7.0).check({"paint": ["bridge"]}, ["a ball"])
    Wishes(guidance_scale=7.0).check({"paint": ["sds"]}, ["a ball"])
    with pytest.raises(UserError, match='sds:release is a preset for text to image; choose "sds" here'):
        Wishes().check({"paint": ["sds:release"]}, ["a ball"])


def test_the_measurement_of_the_errors_listens():
    numbers = ("errors_every=10", "stages.ode_steps=20")
    Wishes(set=numbers, source_descriptors="blurry").check({"image": ["sds"]}, ["a ball"])


def test_the_order_of_assignments_does_not_matter():
    numbers = ("times.minimum=0.55", "times.final_maximum=0.6")
    one, other = (Wishes(set=said).recipe("toybox", "image") for said in (numbers, numbers[::-1]))
    assert one == other and one.times.at(10**6) == (0.55, 0.6)


def test_the_end_of_an_annealing_without_annealing_is_refused():
    with pytest.raises(UserError, match=r"--set times.final_maximum changes nothing while"):
        Wishes(set=("times.final_maximum=0.5",)).recipe("some/where", "image")
    Wishes(set=("times.final_maximum=0.5", "times.anneal_steps=9")).recipe("some/where", "image")
    Wishes(set=("times.final_maximum=0.5",)).recipe("toybox", "image")


def test_a_stage_that_is_never_reached_is_refused():
    with pytest.raises(UserError, match="stage 2 begins at step 300 and the run ends at 300"):
        Wishes(set=("stages.stage_start=300",)).recipe("toybox", "image")
    for steps in (1, 2, 3):
        recipe = Wishes(steps=steps).recipe("toybox", "image")
        assert recipe.stages.stage_start < steps
