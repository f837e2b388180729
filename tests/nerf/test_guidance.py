"""The prior's part of a training step, with a prior whose answers are known."""

from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.configs import base_config  # noqa: F401  (before its other modules: they import each other)
from torch import Tensor

from bridge_nerf.distillation.config import ObjectiveConfig
from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.errors import UserError
from bridge_nerf.flags import leaves
from bridge_nerf.guidance.config import GuidanceConfig, PriorConfig, PromptConfig
from bridge_nerf.guidance.distiller import Step
from bridge_nerf.nerf.model import BridgeModelConfig
from bridge_nerf.nerf.pipeline import BridgePipeline, BridgePipelineConfig
from bridge_nerf.nerf.scene.field import FieldConfig
from bridge_nerf.nerf.scene.orbit import Orbit, turntable
from bridge_nerf.priors.registry import load_prior
from tests.nerf.stub import SIZE, StubPrior
from tests.priors.tiny import build_tiny_pipeline

ORBIT = turntable(4, 15.0, 3.3, 40.0)
ONE = turntable(1, 15.0, 3.3, 40.0)


def configured(**numbers: Any) -> BridgePipelineConfig:
    """A small pipeline with other values of some fields, by name."""
    field = FieldConfig(grid_resolutions=(2,), grid_features=2, hidden=8)
    config = BridgePipelineConfig(
        model=BridgeModelConfig(prompt="a ball", field=field, background="random"),
        prior=PriorConfig("toybox"),
        guidance=GuidanceConfig(
            PromptConfig(source_descriptors="blurry"), ObjectiveConfig(guidance_scale=5.0, stage_start=3)
        ),
    )
    for leaf in list(leaves(config)):
        if leaf.name in numbers:
            leaf.put(numbers[leaf.name])
    return config


def guided(prior: Any = None, **numbers: Any) -> BridgePipeline:
    pipeline = configured(**numbers).setup(device="cpu")
    pipeline.setup_guidance(0, prior=StubPrior() if prior is None else prior)
    return pipeline


def step(pipeline: BridgePipeline, images: Tensor, orbit: Orbit, number: int = 0) -> Step:
    camera = orbit.poses() if pipeline.adapter is not None else None
    rows = pipeline._rows(orbit, number)
    return pipeline.distiller.step(partial(pipeline._latents, images), number, rows, camera, images)


def gradient(pipeline: BridgePipeline, images: Tensor, orbit: Orbit, number: int = 0) -> Tensor:
    images = images.clone().requires_grad_()
    step(pipeline, images, orbit, number).losses["distillation"].backward()
    assert images.grad is not None
    return images.grad


def texts(pipeline: BridgePipeline, orbit: Orbit, slot: Slot, number: int = 0) -> list[str]:
    condition = pipeline.distiller.table.conditions(pipeline._rows(orbit, number))[slot]
    return list(condition.says)


def test_the_loss_of_a_run_is_the_mean_over_the_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = guided(cameras_per_step=4, train_resolution=16)
    _, losses, metrics = pipeline.get_train_loss_dict(0)
    whole = pipeline.distiller.step
    sums: list[Tensor] = []

    def noted(*arguments: Any, **named: Any) -> Step:
        made = whole(*arguments, **named)
        sums.append(made.losses["distillation"])
        return made

    monkeypatch.setattr(pipeline.distiller, "step", noted)
    _, losses, metrics = pipeline.get_train_loss_dict(0)
    assert torch.equal(losses["distillation"], sums[0] / 4)
    assert {"pull", "gradient", "stage", "coverage"} <= metrics.keys()
    assert not metrics.keys() & {"distillation", "visible", "sparsity"}


def test_descent_ends_at_the_prompts_image() -> None:
    pipeline = guided(objective="sds", guidance_scale=1.0)
    image = torch.full((1, 3, SIZE, SIZE), 0.5, requires_grad=True)
    optimizer = torch.optim.Adam([image], lr=0.02)
    for number in range(200):
        optimizer.zero_grad()
        step(pipeline, image, ONE, number).losses["distillation"].backward()
        optimizer.step()
    expected = StubPrior().image("a ball")
    torch.testing.assert_close(image.detach()[0], expected, atol=0.05, rtol=0)


def test_a_step_is_a_function_of_its_number() -> None:
    images = torch.rand(1, 3, SIZE, SIZE)
    one, other = guided(), guided()
    for number in (0, 1, 2):
        step(one, images, ONE, number)
    assert torch.equal(gradient(one, images, ONE, 7), gradient(other, images, ONE, 7))
    assert not torch.equal(gradient(one, images, ONE, 8), gradient(one, images, ONE, 7))


def test_a_text_that_views_and_descriptors_make_too_long_says_whose_tokens_they_are(tmp_path: Path) -> None:
    prior = load_prior(str(build_tiny_pipeline(tmp_path)), "cpu")
    said = r'has 26 tokens and what is added to it 8 \("front view", "white background", "sharp"\)'
    with pytest.raises(UserError, match=rf"{said}.*--pipeline.target-descriptors"):
        guided(prior, prompt="red apple " * 13, background="white", target_descriptors="sharp")


def test_prompts_say_view_and_background() -> None:
    pipeline = guided(background="white")
    assert [text.split(", ")[:3] for text in texts(pipeline, ORBIT, Slot.TARGET)] == [
        ["a ball", f"{view} view", "white background"] for view in ("front", "side", "back", "side")
    ]
    assert all(text.endswith("white background, blurry") for text in texts(pipeline, ORBIT, Slot.SOURCE))
    assert texts(pipeline, ORBIT, Slot.NULL) == [""]


def test_a_row_for_each_background_of_the_palette() -> None:
    pipeline = guided(background="palette")
    for number in range(8):
        name = pipeline.model.background.name(pipeline.model.seed, number)
        assert all(f"{name} background" in text for text in texts(pipeline, ORBIT, Slot.TARGET, number))


def test_the_source_may_have_a_prompt_of_its_own() -> None:
    pipeline = guided(source_prompt="a cube")
    words = [texts(pipeline, ONE, slot)[0].split(", ")[0] for slot in (Slot.TARGET, Slot.SOURCE)]
    assert words == ["a ball", "a cube"]
    with pytest.raises(UserError, match="xylophone"):
        guided(source_prompt="a xylophone")


def test_the_negative_prompt_stands_alone_and_is_the_source_descriptors_unless_given() -> None:
    for given, said in (("foggy, ", "foggy"), ("", "blurry")):
        pipeline = guided(objective="nfsd", background="white", negative_prompt=given)
        assert texts(pipeline, ORBIT, Slot.NEGATIVE) == [said]
    assert texts(guided(objective="nfsd", source_descriptors=""), ORBIT, Slot.NEGATIVE) == [""]
    assert Slot.NEGATIVE not in guided().distiller.table.conditions(), "bridge does not ask it"
    with pytest.raises(UserError, match="xylophone"):
        guided(objective="nfsd", negative_prompt="a xylophone")


def test_background_words_can_be_left_out() -> None:
    pipeline = guided(background="white", background_words=False)
    assert not any("background" in text for text in texts(pipeline, ORBIT, Slot.TARGET))


def test_words_of_a_front_are_said_in_front_only() -> None:
    pipeline = guided(prompt="a smiling ball", front_only=("smiling",))
    for slot in (Slot.TARGET, Slot.SOURCE):
        said = [text.split(", ")[0] for text in texts(pipeline, ORBIT, slot)]
        assert said == ["a smiling ball", "a ball", "a ball", "a ball"]


def test_perp_neg_avoids_the_opposite_view() -> None:
    pipeline = guided(perp_neg=1.0)
    for slot, views in (
        (Slot.TARGET, ["front view", "side view", "back view", "side view"]),
        (Slot.NEGATIVE, ["back view", "front view", "front view", "front view"]),
    ):
        assert [text.split(", ")[1] for text in texts(pipeline, ORBIT, slot)] == views
    images = torch.rand(4, 3, SIZE, SIZE)
    assert step(pipeline, images, ORBIT).losses["distillation"].isfinite()


def test_images_are_brought_to_the_priors_size() -> None:
    slope = gradient(guided(), torch.rand(1, 3, 40, 40), ONE)
    assert slope.shape == (1, 3, 40, 40) and slope.abs().sum() > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"objective": "dds"}, "edits one image"),
        ({"objective": "nfsd", "perp_neg": 1.0}, "negative prompt of its own"),
        ({"objective": "bridge-ode", "ode_steps": 0}, "ode-steps 0"),
        ({"weighting": "gaussian"}, "sigma/alpha"),
        ({"guidance_scale": float("nan")}, "guidance-scale nan"),
        ({"objective": "csd", "guidance_rescale": 0.5}, "guidance_rescale"),
        ({"objective": "alchemy"}, "bridge"),
        ({"objective": "sds", "stage": "2"}, "no stage 2"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_loaded(change: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        configured(**change).stages()


def said(pipeline: BridgePipeline, number: int, images: Tensor | None = None) -> str:
    """The refusal of a step."""
    with pytest.raises(UserError) as caught:
        step(pipeline, torch.rand(1, 3, SIZE, SIZE) if images is None else images, ONE, number)
    return str(caught.value)


def test_a_prior_that_is_not_finite_is_blamed_before_anything_is_learnt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = guided()
    prior = pipeline.distiller.prior
    monkeypatch.setattr(prior, "dtype", torch.float16)
    monkeypatch.setattr(prior, "eps", lambda x_t, t, condition: torch.full_like(x_t, torch.nan))
    first, later = said(pipeline, 0), said(pipeline, 17)
    assert first.startswith("step 0: non-finite gradient") and "nothing has been learnt yet" in first
    assert "the prior toybox in float16 answers" in first and "learning rate" not in first
    assert "--pipeline.prior.dtype float32" in first
    assert later.startswith("step 17: non-finite gradient") and "lower" in later and "learning rate" in later


def test_a_render_and_an_encoder_that_are_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, nan = guided(), torch.full((1, 3, SIZE, SIZE), torch.nan)
    assert "the render is not finite" in said(pipeline, 0, nan) and "prior toybox" not in said(
        pipeline, 0, nan
    )
    assert "learning rate" in said(pipeline, 3, nan)
    monkeypatch.setattr(pipeline.distiller.prior, "encode", lambda images: images * torch.nan)
    assert "the latents are not finite; the prior toybox in float32 encodes them so" in said(pipeline, 0)
    assert "the latents are not finite; lower the learning rate" in said(pipeline, 3)


def test_every_text_is_read_before_training_begins(tmp_path: Path) -> None:
    prior = load_prior(str(build_tiny_pipeline(tmp_path)), "cpu")
    journeys: list[torch.device] = []
    prior.text_encoders[0].encoder.to = journeys.append
    words = {"prompt": "a red apple", "target_descriptors": "sharp", "source_descriptors": "blurry"}
    pipeline = guided(prior, objective="vsd", background="white", errors_every=1, **words)
    before = len(journeys)
    images, above = torch.rand(5, 3, 32, 32), turntable(1, 80.0, 3.3, 40.0)
    every = Orbit(*(torch.cat([getattr(o, f.name) for o in (ORBIT, above)]) for f in fields(Orbit)))
    step(pipeline, images, every, 0)
    assert len(journeys) == before
