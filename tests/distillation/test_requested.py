"""Whether an objective listens to what is requested beside it, against changing it and looking."""

import pytest
import torch

from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.distillation.problem import Problem
from bridge_nerf.distillation.registry import OBJECTIVES, ObjectiveConfig, stages_for
from bridge_nerf.distillation.requested import ConfiguredObjective as Configured
from bridge_nerf.distillation.requested import check_requested
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.errors import UserError

from .brute import NOW, PROMPTS, REFERENCE
from .worlds import MIXED_T, MIXTURE, draws

SAMPLE = Sample(draws("x", 6, 2), MIXED_T, draws("noise", 6, 2))


def flags(*names: str) -> dict[str, str]:
    return {name: f"--{name}" for name in names}


def gradients(method: str, negative: str = "high", source: str = "right", **options) -> list[torch.Tensor]:
    """Before, at and long after the switch of stages."""
    prompts = PROMPTS | {"NEGATIVE": negative, "SOURCE": source}
    prior = {slot: NOW if slot == "ADAPTER" else MIXTURE for slot in prompts}
    conditions = {Slot(slot): prior[slot].embed([prompt]) for slot, prompt in prompts.items()}
    problem = Problem(MIXTURE, conditions, NOW, REFERENCE)
    stages = stages_for(method, ObjectiveConfig(**options))
    active = [stages.at(step) for step in (0, 500, 501, 10**6)]
    return [a.weight * a.objective.gradient(problem, SAMPLE).value for a in active]


CHANGES = {
    "guidance_scale": {"guidance_scale": 3.0},
    "ode_steps": {"ode_steps": 4},
    "stage_start": {"stage_start": 501},
    "stage_two_scale": {"stage_two_scale": 3.0},
    "stage_two_anchor": {"stage_two_anchor": 1.0},
    "stage_two_final_weight": {"stage_two_final_weight": 0.5},
    "negative_share": {"negative_share": 0.5},
    "unit_norm": {"unit_norm": True},
    "gradient_clip": {"gradient_clip": 1e-3},
    "negative_prompt": {"negative": "left"},
    "source_prompt": {"source": "left"},
}


@pytest.mark.parametrize("method", OBJECTIVES)
@pytest.mark.parametrize("name", CHANGES)
def test_what_is_said_to_change_nothing_changes_nothing(method, name):
    pairs = zip(gradients(method), gradients(method, **CHANGES[name]), strict=True)
    same = all(torch.equal(one, other) for one, other in pairs)
    assert Configured(method).depends_on(name) != same


@pytest.mark.parametrize("method", OBJECTIVES)
def test_a_weighting_is_heard_and_rescaling_where_it_can_be(method):
    assert Configured(method).depends_on("weighting")
    assert Configured(method).depends_on("guidance_rescale") == (
        method in ("sds", "nfsd", "vsd", "vsd-bridge", "bridge")
    )


def test_a_stage_that_gives_way_at_once_hears_nothing():
    alone = ObjectiveConfig(stage_start=0)
    assert not Configured("bridge", alone).depends_on("guidance_scale")
    assert Configured("bridge", alone).depends_on("stage_two_guidance")
    assert not Configured("vsd-bridge", alone).depends_on("guidance_scale")


def test_source_descriptors_stand_in_for_a_missing_negative_prompt():
    check_requested([Configured("nfsd")], flags("source_descriptors"))
    with pytest.raises(UserError, match="--source_descriptors changes nothing in nfsd"):
        check_requested([Configured("nfsd", negative_prompt="ugly")], flags("source_descriptors"))
    check_requested([Configured("csd", ObjectiveConfig(negative_share=0.5))], flags("source_descriptors"))


def test_the_measurement_of_the_errors_listens():
    check_requested([Configured("sds", measures=True)], flags("ode_steps", "source_descriptors"))


@pytest.mark.parametrize(
    ("methods", "name", "said"),
    [
        (["sds", "csd"], "negative_prompt", "changes nothing in sds, csd: leave it out, or choose nfsd"),
        (["bridge-ode"], "guidance_scale", "--guidance_scale changes nothing in bridge-ode"),
        (["csd"], "negative_anneal_steps", "changes nothing in csd as it is configured: leave it out"),
        (["bridge:release"], "stage_two_scale", 'leave --stage_two_scale out, or choose "bridge"'),
        (["bridge:release"], "minimum", 'leave --minimum out, or choose "bridge"'),
        (["sds:release"], "source_descriptors", "changes nothing in sds:release"),
        (["alchemy"], "negative_prompt", "unknown objective 'alchemy'"),
    ],
)
def test_what_changes_nothing_is_refused_in_one_line(methods, name, said):
    with pytest.raises(UserError) as caught:
        check_requested([Configured(method) for method in methods], flags(name))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_what_one_of_several_listens_to_is_fine():
    check_requested([Configured("sds"), Configured("nfsd")], flags("negative_prompt"))
    shared = ObjectiveConfig(negative_share=0.5, negative_anneal_steps=9)
    check_requested([Configured("csd", shared)], flags("negative_share", "negative_anneal_steps"))
    check_requested([Configured("bridge:release")], flags("target_descriptors"))


def test_a_preset_takes_the_guidance_that_it_has():
    check_requested(
        [Configured("bridge:release-3d", ObjectiveConfig(guidance_scale=100.0))],
        flags("guidance_scale"),
    )
    with pytest.raises(UserError, match="leave --guidance_scale out"):
        check_requested(
            [Configured("bridge:release-3d", ObjectiveConfig(guidance_scale=5.0))],
            flags("guidance_scale"),
        )
