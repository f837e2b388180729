"""Whether an objective listens to what is requested beside it, against changing it and looking."""

import pytest
import torch

from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.distillation.problem import Problem
from bridge_nerf.distillation.requested import SLOTS, check_requested, has_effect
from bridge_nerf.distillation.stages import METHODS, stages_for
from bridge_nerf.errors import UserError

from .brute import NOW, PROMPTS, REFERENCE
from .worlds import MIXED_T, MIXTURE, draws

FLAGS = {name: f"--{name}" for name in (*SLOTS, "guidance_scale", "stage_two_scale", "negative_anneal_steps")}
X, NOISE = draws("x", 6, 2), draws("noise", 6, 2)


def gradients(method: str, negative: str = "high", source: str = "right", **options) -> torch.Tensor:
    """Of every stage."""
    prompts = PROMPTS | {"NEGATIVE": negative, "SOURCE": source}
    prior = {slot: NOW if slot == "ADAPTER" else MIXTURE for slot in prompts}
    conditions = {Slot(slot): prior[slot].embed([prompt]) for slot, prompt in prompts.items()}
    problem = Problem(MIXTURE, conditions, NOW, REFERENCE)
    stages = stages_for(method, **options).stages
    return torch.stack([stage.objective.gradient(problem, X, MIXED_T, NOISE) for stage in stages])


@pytest.mark.parametrize("method", METHODS)
def test_what_is_said_to_change_nothing_changes_nothing(method):
    for name, changed in (
        ("guidance_scale", {"guidance_scale": 3.0}),
        ("ode_steps", {"ode_steps": 4}),
        ("stage_two_scale", {"stage_two_scale": 3.0}),
        ("weighting", {"weighting": "sigma/alpha"}),
        ("negative_prompt", {"negative": "left"}),
        ("source_prompt", {"source": "left"}),
    ):
        same = torch.equal(gradients(method), gradients(method, **changed))
        own = name == "weighting" and same and has_effect(method, name, {"weighting": "uniform"})
        assert has_effect(method, name, {name: next(iter(changed.values()))}) != same or own, name


def test_source_descriptors_stand_in_for_a_missing_negative_prompt():
    check_requested(["nfsd"], {"source_descriptors": "blurry"}, FLAGS)
    both = {"source_descriptors": "blurry", "negative_prompt": "ugly"}
    with pytest.raises(UserError, match="--source_descriptors changes nothing in nfsd"):
        check_requested(["nfsd"], both, FLAGS)
    check_requested(["nfsd", "bridge"], both, FLAGS)


@pytest.mark.parametrize(
    ("methods", "requested", "said"),
    [
        (
            ["sds", "csd"],
            {"negative_prompt": "x"},
            "nothing in sds, csd: leave it out, or choose nfsd",
        ),
        (["bridge-ode"], {"guidance_scale": 1.0}, "--guidance_scale changes nothing in bridge-ode"),
        (["csd"], {"negative_anneal_steps": 9}, "changes nothing in csd by itself: leave it out"),
        (["bridge:release"], {"stage_two_scale": 40.0}, 'leave --stage_two_scale out, or choose "bridge"'),
        (["sds:release"], {"source_descriptors": "x"}, "changes nothing in sds:release"),
        (["alchemy"], {"negative_prompt": "x"}, "unknown method 'alchemy'"),
    ],
)
def test_what_changes_nothing_is_refused_in_one_line(methods, requested, said):
    with pytest.raises(UserError) as caught:
        check_requested(methods, requested, FLAGS)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_what_one_of_several_listens_to_is_fine():
    check_requested(["sds", "nfsd"], {"negative_prompt": "x"}, FLAGS)
    check_requested(
        ["csd"], {"negative_share": 0.5, "negative_anneal_steps": 9}, FLAGS | {"negative_share": ""}
    )
    check_requested(["bridge:release"], {"target_descriptors": "sharp"}, FLAGS)
