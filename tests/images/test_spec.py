"""Specifications, their numbers, and requests."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, fields, replace

import pytest

from bridge_nerf.annealing import TimestepRange
from bridge_nerf.distillation.config import ObjectiveConfig
from bridge_nerf.distillation.registry import OBJECTIVES
from bridge_nerf.errors import UserError
from bridge_nerf.images.config import ImageConfig
from bridge_nerf.images.defaults import PAPER, TOYBOX, configured, default_config
from bridge_nerf.images.options import ImageOptions
from bridge_nerf.images.spec import Spec, slug, subjects_for
from bridge_nerf.paths import asset
from bridge_nerf.priors.registry import kind_of
from tests.images.conftest import CONFIG, SPEC, changed


def request(**numbers: object) -> ImageOptions:
    """A request with numbers by field; "__" stands for the dot of a flag."""
    return ImageOptions(
        overrides={name.replace("__", ".").replace("_", "-"): value for name, value in numbers.items()}
    )


def test_a_specification_survives_json():
    config = changed(CONFIG, canvas="pixels")
    spec = replace(SPEC, config=config, transforms=("180",), source="a.png", source_hash="00")
    assert Spec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize("text", ["{}", "[]", "no", '{"subjects": 3}'])
def test_foreign_notes_are_refused(text):
    with pytest.raises(UserError, match="cannot be read"):
        Spec.from_json(text)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": "../../x"}, "Invalid enum value"),
        ({"subjects": [{"prompts": ["a"], "seed": "../x"}]}, "Expected `int`, got `str`"),
        ({"subjects": [{"prompts": ["a"], "seed": -1}]}, "seed -1 makes no sense"),
        ({"subjects": []}, "nothing to make"),
        ({"subjects": [{"prompts": ["a"], "seed": 0}] * 1025}, "too many at once"),
        ({"size": [64, 1_000_000]}, "size 1000000 x 64 makes no sense"),
        ({"size": [64, 0]}, "size 0 x 64 makes no sense"),
        ({"size": [64]}, "length 2"),
        ({"subjects": [{"prompts": ["a"], "seed": 0}] * 5, "size": [8192, 8192]}, "pixels together"),
        ({"transforms": ["45"]}, "unknown transform '45'"),
        ({"config": {"steps": 10**30}}, "makes no sense"),
        ({"config": {"speed": 1}}, "nothing here is called 'speed'"),
        ({"objective": "alchemy"}, "unknown objective"),
        ({"recipe": 3}, "cannot be read"),
        ({"recipe": {}, "objective": []}, "cannot be read"),
    ],
)
def test_what_a_note_says_is_not_believed(changes, said):
    with pytest.raises(UserError, match=r"^it cannot be read \(.*\); another version wrote it$") as caught:
        Spec.from_dict(json.loads(SPEC.to_json()) | changes, "it")
    assert said in str(caught.value)


def earlier(objective: str = "bridge", **recipe: object) -> str:
    """A note as version 0.1 wrote it."""
    guidance = CONFIG.guidance
    numbers = {
        "steps": 12,
        "learning_rate": 0.1,
        "weight_decay": 0.0,
        "rest": 0.5,
        "initial_scale": 1.0,
        "adapter_rate": 1e-4,
        "target_descriptors": guidance.prompts.target_descriptors,
        "source_descriptors": guidance.prompts.source_descriptors,
        "negative_prompt": "",
        "errors_every": 0,
        "stages": asdict(guidance.objective),
        "times": asdict(guidance.times),
    }
    note = json.loads(SPEC.to_json()) | {"objective": objective, "recipe": numbers | recipe}
    del note["config"], note["transforms"]
    return json.dumps(note | {"canvas": "latents", "views": ["0"]})


def test_a_note_of_an_earlier_version_is_read():
    assert Spec.from_json(earlier()) == SPEC


def test_a_note_of_a_preset_that_was_another_run_is_refused():
    stages = asdict(ObjectiveConfig())
    assert Spec.from_json(earlier("sds:release", stages=stages)).objective == "sds:release"
    note = json.loads(earlier("sds:release", stages=stages))
    del note["recipe"]["weight_decay"]
    with pytest.raises(UserError, match="the preset sds:release was another run then"):
        Spec.from_json(json.dumps(note))
    note["objective"] = "sds"
    assert Spec.from_json(json.dumps(note)).config.weight_decay == 0


def test_names_tell_specifications_apart():
    other = replace(SPEC, config=changed(CONFIG, learning_rate=0.2))
    assert SPEC.name != other.name and SPEC.name.startswith("image-a-ball-bridge-s3-")
    assert slug("Ärger/../x") == "rger-x" and slug("...") == "untitled"


def test_impossible_specifications_are_refused():
    with pytest.raises(UserError, match="at least 1"):
        replace(SPEC, subjects=subjects_for(("a ball",), 0, 0))
    with pytest.raises(UserError, match="every image needs 2 prompts"):
        replace(SPEC, transforms=("0", "180"))


def test_numbers_are_replaced_by_flag():
    flags = {"learning-rate": 0.5, "stage-start": 7, "times.minimum": 0.1, "unit-norm": True}
    config = configured("sd", "image", "bridge", flags)
    guidance = config.guidance
    assert (config.learning_rate, guidance.objective.stage_start, guidance.times.minimum) == (0.5, 7, 0.1)
    assert guidance.objective.unit_norm is True


@pytest.mark.parametrize(
    "flags, words",
    [
        ({"speed": 3}, "unknown number --speed; choose among target-descriptors, "),
        ({"steps": 0}, "--steps 0 makes no sense; give a number from 1 to 1000000000"),
        ({"learning-rate": float("nan")}, "--learning-rate nan makes no sense"),
        ({"decay-start": 2.0}, "--decay-start 2 makes no sense; give a number from 0 to 1"),
        ({"errors-every": -1}, "--errors-every -1 makes no sense"),
        ({"steps": int("9" * 400)}, "makes no sense; give a number from 1 to 1000000000"),
        ({"guidance-rescale": 7.0}, "--guidance-rescale 7 makes no sense; give a number from 0 to 1"),
        ({"negative-share": -0.1}, "--negative-share -0.1 makes no sense"),
        ({"negative-anneal-steps": -1}, "--negative-anneal-steps -1 makes no sense"),
        ({"stage-two-anneal-steps": -1}, "--stage-two-anneal-steps -1 makes no sense"),
        ({"times.minimum": 3.0}, "--times.minimum 3 makes no sense"),
        ({"times.minimum": 0.99}, "fractions must obey"),
        ({"times.stride": 0}, "--times.stride 0 makes no sense"),
        ({"weighting": "heavy"}, "unknown weighting 'heavy'; choose own, sigma^2"),
    ],
)
def test_impossible_numbers_are_one_line(flags, words):
    with pytest.raises(UserError) as caught:
        configured("sd", "image", "bridge", flags)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_stretched_configuration_keeps_its_shares():
    config = changed(ImageConfig(), stage_start=500, anneal_steps=250)
    half = config.stretched(500)
    guidance = half.guidance
    assert (half.steps, guidance.objective.stage_start, guidance.times.anneal_steps) == (500, 250, 125)
    assert half.stretched(1000) == config


def test_every_number_of_an_objective_that_counts_steps_is_stretched():
    names = [f.name for f in fields(ObjectiveConfig) if f.name.endswith(("_start", "_steps"))]
    counting = [name for name in names if name != "ode_steps"]
    config = changed(ImageConfig(), **dict.fromkeys(counting, 100)).stretched(500)
    assert all(getattr(config.guidance.objective, name) == 50 for name in counting)


@pytest.mark.parametrize("table", [PAPER, TOYBOX])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_has_stages_with_all_default_numbers(table, objective):
    for config in table.values():
        assert config.guidance.stages(objective).stages


def test_a_request_overrides_the_defaults_of_the_prior():
    flags = {"steps": 10, "guidance-scale": 2.0, "source-descriptors": "bad", "decay-start": 1.0}
    config = configured("toybox", "image", "bridge", flags)
    prompts = config.guidance.prompts
    assert (config.steps, config.guidance.objective.guidance_scale, config.decay_start) == (10, 2.0, 1.0)
    assert prompts.source_descriptors == "bad"
    assert prompts.target_descriptors == TOYBOX["image"].guidance.prompts.target_descriptors
    assert default_config("sd", "image") == PAPER["image"]


def test_numbers_follow_the_priors_world_and_not_its_name(tmp_path):
    shutil.copytree(asset("toybox/prior"), tmp_path / "mine")
    assert kind_of(str(tmp_path / "mine"))[0] == "toybox"
    (tmp_path / "mine" / "words.json").write_text('{"objects": ["dog"]}')
    assert kind_of(str(tmp_path / "mine"))[0] == "sd"


def test_one_configuration_does_not_change_another():
    configured("toybox", "image", "bridge", {"times.maximum": 0.7}).guidance.times.minimum = 0.3
    assert TOYBOX["image"].guidance.times == TimestepRange(0.02, 0.98, 0.5, 200)


@pytest.mark.parametrize(
    ("objective", "numbers", "said"),
    [
        ("bridge", {"negative_prompt": "ugly"}, "--negative-prompt changes nothing in bridge"),
        ("vsd", {"stage_start": 150}, "--stage-start changes nothing in vsd"),
        ("sds", {"adapter_rate": 0.1}, "--adapter-rate changes nothing in sds"),
        ("sds", {"adapter_rank": 8}, "--adapter-rank changes nothing in sds"),
        ("sds", {"source_prompt": "a cube"}, "--source-prompt changes nothing in sds"),
        ("bridge:release", {"guidance_scale": 5.0}, "leave --guidance-scale out"),
        ("bridge:release", {"times__minimum": 0.1}, "leave --times.minimum out"),
        ("bridge:release-3d", {}, "a preset for scenes; choose bridge:release, "),
        ("sds", {"negative_share": 0.5}, "--negative-share changes nothing in sds"),
        ("sds", {"canvas": "network", "initial_scale": 2.0}, "--initial-scale is of noise"),
        ("nfsd", {"perp_neg": 1.0}, "nfsd has a negative prompt of its own; set perp-neg to 0"),
        ("alchemy", {"guidance_scale": 5.0}, "unknown objective"),
    ],
)
def test_numbers_without_effect_are_refused_before_anything_is_loaded(objective, numbers, said):
    with pytest.raises(UserError, match=said):
        request(**numbers).check({"image": [objective]}, ["a ball"])


def test_a_painting_starts_in_stage_two_and_has_no_guidance():
    with pytest.raises(UserError, match="--guidance-scale changes nothing in bridge"):
        request(guidance_scale=7.0).check({"paint": ["bridge"]}, ["a ball"])
    request(guidance_scale=7.0).check({"paint": ["sds"]}, ["a ball"])
    with pytest.raises(UserError, match='sds:release is a preset for text to image; choose "sds" here'):
        request().check({"paint": ["sds:release"]}, ["a ball"])


def test_the_measurement_of_the_errors_uses_steps_and_words():
    request(errors_every=10, ode_steps=20, source_descriptors="blurry").check({"image": ["sds"]}, ["a ball"])


def test_perp_neg_uses_the_negative_prompt():
    request(perp_neg=1.0, negative_prompt="ugly").check({"image": ["sds"]}, ["a ball"])


def test_the_end_of_an_annealing_without_annealing_is_refused():
    with pytest.raises(UserError, match=r"--times.final-maximum changes nothing while --times.anneal-steps"):
        request(times__final_maximum=0.5, times__anneal_steps=0).check({"image": ["sds"]}, ["a ball"])
    request(times__final_maximum=0.5, times__anneal_steps=9).check({"image": ["sds"]}, ["a ball"])
    request(times__final_maximum=0.5).check({"image": ["sds"]}, ["a ball"])  # the toybox anneals


def test_a_stage_that_is_never_reached_is_refused():
    with pytest.raises(UserError, match="stage 2 begins at step 300 and the run ends at 300"):
        configured("toybox", "image", "bridge", {"stage-start": 300})
    configured("toybox", "image", "bridge", {"stage-start": 300, "stage": "1"})
    for steps in (1, 2, 3):
        config = configured("toybox", "image", "bridge", {"steps": steps})
        assert config.guidance.objective.stage_start < steps
