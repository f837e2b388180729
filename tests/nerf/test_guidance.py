"""The prior's seat in the loop, with a prior whose answers are known."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.errors import UserError
from bridge_nerf.nerf.guidance import Guidance
from bridge_nerf.nerf.guidance_config import GuidanceConfig, Wishes
from bridge_nerf.nerf.prompts import ViewConfig
from bridge_nerf.nerf.scene.orbit import Orbit, turntable
from bridge_nerf.priors.adapter import Adapter
from bridge_nerf.priors.registry import load_prior
from tests.nerf.stub import SIZE, StubPrior
from tests.priors.tiny import build_tiny_pipeline

CONFIG = GuidanceConfig(prior="toybox", stage_start=3, guidance_scale=5.0, source_descriptors="blurry")


def guidance(config: GuidanceConfig = CONFIG, prompt: str = "a ball", backgrounds=(None,)) -> Guidance:
    return Guidance(StubPrior(), config, Wishes.of(prompt, config), seed=0, backgrounds=backgrounds)


def test_the_gradient_is_that_of_the_objective_over_the_number_of_views() -> None:
    g, orbit = guidance(), turntable(4, 15.0, 3.3, 40.0)
    images = torch.rand(4, 3, SIZE, SIZE, requires_grad=True)
    distilled = g.loss(images, orbit, None, 0)
    distilled.losses["distillation"].backward()
    assert images.grad is not None
    torch.testing.assert_close(images.grad, distilled.gradient / 4)


def test_descent_ends_at_the_prompts_image() -> None:
    g, orbit = guidance(replace(CONFIG, objective="sds", guidance_scale=1.0)), turntable(1, 15.0, 3.3, 40.0)
    image = torch.full((1, 3, SIZE, SIZE), 0.5, requires_grad=True)
    optimizer = torch.optim.Adam([image], lr=0.02)
    for step in range(200):
        optimizer.zero_grad()
        g.loss(image, orbit, None, step).losses["distillation"].backward()
        optimizer.step()
    expected = StubPrior().image("a ball")
    torch.testing.assert_close(image.detach()[0], expected, atol=0.05, rtol=0)


def test_a_step_is_a_function_of_its_number() -> None:
    orbit, images = turntable(1, 15.0, 3.3, 40.0), torch.rand(1, 3, SIZE, SIZE)
    one, other = guidance(), guidance()
    for step in (0, 1, 2):
        one.loss(images, orbit, None, step)
    assert torch.equal(one.loss(images, orbit, None, 7).gradient, other.loss(images, orbit, None, 7).gradient)
    assert not torch.equal(
        one.loss(images, orbit, None, 8).gradient, one.loss(images, orbit, None, 7).gradient
    )


def test_a_text_that_views_and_descriptors_make_too_long_says_whose_tokens_they_are(tmp_path: Path) -> None:
    prior = load_prior(str(build_tiny_pipeline(tmp_path)), "cpu")
    config = replace(CONFIG, target_descriptors="sharp")
    wishes = Wishes.of("red apple " * 13, config)
    said = r'has 26 tokens and what is added to it 8 \("front view", "white background", "sharp"\)'
    with pytest.raises(UserError, match=rf"{said}.*--pipeline.target-descriptors"):
        Guidance(prior, config, wishes, seed=0, backgrounds=("white",))


def test_views_and_backgrounds_are_told() -> None:
    g = guidance(backgrounds=("white",))
    assert isinstance(g.prior, StubPrior)
    g.prior.asked.clear()
    g.loss(torch.rand(4, 3, SIZE, SIZE), turntable(4, 15.0, 3.3, 40.0), "white", 0)
    assert [text.split(", ")[:3] for text in g.prior.asked[:4]] == [
        ["a ball", f"{view} view", "white background"] for view in ("front", "side", "back", "side")
    ]
    assert g.prior.asked[4].endswith("white background, blurry")
    assert g.prior.asked[-1] == ""


def test_the_source_may_have_a_prompt_of_its_own() -> None:
    g = guidance(replace(CONFIG, source_prompt="a cube"))
    assert isinstance(g.prior, StubPrior)
    g.prior.asked.clear()
    g.loss(torch.rand(1, 3, SIZE, SIZE), turntable(1, 15.0, 3.3, 40.0), None, 0)
    assert [text.split(", ")[0] for text in g.prior.asked[:2]] == ["a ball", "a cube"]
    with pytest.raises(UserError, match="xylophone"):
        guidance(replace(CONFIG, source_prompt="a xylophone"))


def test_the_negative_prompt_stands_alone_and_is_the_source_descriptors_unless_given() -> None:
    orbit = turntable(2, 15.0, 3.3, 40.0)

    def negative(**changes: str) -> torch.Tensor:
        g = guidance(replace(CONFIG, objective="nfsd", **changes))
        return g._problem(orbit, "white").conditions[Slot.NEGATIVE].embedding

    for given, said in (("foggy, ", "foggy"), ("", "blurry")):
        assert torch.equal(negative(negative_prompt=given)[0], StubPrior().image(said))
    assert torch.equal(negative(source_descriptors="")[0], StubPrior().image(""))
    assert Slot.NEGATIVE not in guidance()._problem(orbit, "white").conditions, "bridge asks none"


def test_a_negative_prompt_that_cannot_be_read() -> None:
    with pytest.raises(UserError, match="xylophone"):
        guidance(replace(CONFIG, negative_prompt="a xylophone"))


def test_background_words_can_be_left_out() -> None:
    g = guidance(replace(CONFIG, background_words=False), backgrounds=("white",))
    assert isinstance(g.prior, StubPrior)
    g.loss(torch.rand(1, 3, SIZE, SIZE), turntable(1, 15.0, 3.3, 40.0), "white", 0)
    assert not any("background" in text for text in g.prior.asked)


def test_what_only_a_front_shows_is_told_in_front_only() -> None:
    g = guidance(replace(CONFIG, view=ViewConfig(front_only=("smiling",))), "a smiling ball")
    assert isinstance(g.prior, StubPrior)
    g.prior.asked.clear()
    g.loss(torch.rand(4, 3, SIZE, SIZE), turntable(4, 15.0, 3.3, 40.0), None, 0)
    said = [text.split(", ")[0] for text in g.prior.asked[:4]]
    assert said == ["a smiling ball", "a ball", "a ball", "a ball"]


def test_images_are_brought_to_the_priors_size() -> None:
    images = torch.rand(1, 3, 40, 40, requires_grad=True)
    distilled = guidance().loss(images, turntable(1, 15.0, 3.3, 40.0), None, 0)
    assert distilled.gradient.shape == (1, 3, SIZE, SIZE)
    distilled.losses["distillation"].backward()
    assert images.grad is not None and images.grad.abs().sum() > 0


def test_the_stage_follows_the_step_or_the_wish() -> None:
    g = guidance()
    assert [g.active(step).index for step in (0, 2, 3, 900)] == [0, 0, 1, 1]
    g.apply(replace(g.wishes, stage="2"))
    assert g.active(0).index == 1
    g.apply(replace(g.wishes, stage="1"))
    assert g.active(900).index == 0


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": " "},
        {"prompt": ","},
        {"prompt": "a xylophone"},
        {"source_descriptors": "xylophone"},
        {"prompt": "ball " * 50},
    ],
)
def test_a_wish_that_cannot_be_read_changes_nothing(change: dict[str, str]) -> None:
    g = guidance()
    before = g.wishes
    with pytest.raises(UserError):
        g.apply(replace(before, **change, guidance_scale=9.0))
    assert g.wishes is before
    assert guidance().stages == g.stages


def test_a_prompt_is_read_as_it_is_told() -> None:
    g = guidance(prompt="a ball.")
    assert isinstance(g.prior, StubPrior)
    assert not any("." in text for text in g.prior.checked)


def test_a_stage_that_is_not_there() -> None:
    g = guidance(replace(CONFIG, objective="sds"))
    with pytest.raises(UserError, match="no stage 2"):
        g.apply(replace(g.wishes, stage="2"))


def test_unknown_objective() -> None:
    with pytest.raises(UserError, match="bridge"):
        guidance(replace(CONFIG, objective="alchemy"))


def said(g: Guidance, step: int, images: torch.Tensor | None = None) -> str:
    """How the step is refused."""
    if images is None:
        images = torch.rand(1, 3, SIZE, SIZE)
    judged = g.loss(images, turntable(1, 15.0, 3.3, 40.0), None, step)
    assert not judged.losses["distillation"].isfinite()
    return str(g.explained(judged.why(), step))


def test_a_prior_that_is_not_finite_is_blamed_before_anything_is_learnt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    g = guidance()
    monkeypatch.setattr(g.prior, "dtype", torch.float16)
    monkeypatch.setattr(g.prior, "eps", lambda x_t, t, condition: torch.full_like(x_t, torch.nan))
    first, later = said(g, 0), said(g, 17)
    assert first.startswith("step 0: non-finite gradient") and "nothing has been learnt yet" in first
    assert "the prior toybox in float16 answers" in first and "learning rate" not in first
    assert first.endswith("give --pipeline.prior-dtype float32")
    assert later.startswith("step 17: non-finite gradient") and "lower learning rate" in later


def test_a_render_and_an_encoder_that_are_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    g, nan = guidance(), torch.full((1, 3, SIZE, SIZE), torch.nan)
    assert "the render is not finite" in said(g, 0, nan) and "prior toybox" not in said(g, 0, nan)
    assert "the render is not finite" in said(g, 3, nan) and "lower learning rate" in said(g, 3, nan)
    monkeypatch.setattr(g.prior, "encode", lambda images: images * torch.nan)
    assert "the latents are not finite; the prior toybox in float32 encodes them so" in said(g, 0)
    assert "the latents are not finite; resume with a lower learning rate" in said(g, 3)


def test_wishes_are_written_down() -> None:
    config = replace(CONFIG)
    Wishes("a ball", "sharp", "foggy", 7.0, "2").write(config)
    assert (config.target_descriptors, config.guidance_scale, config.stage) == ("sharp", 7.0, "2")


def test_every_text_is_read_before_training_begins(tmp_path: Path) -> None:
    prior = load_prior(str(build_tiny_pipeline(tmp_path)), "cpu")
    config = replace(CONFIG, objective="vsd", target_descriptors="sharp", errors_every=1)
    adapter = Adapter(prior, 2, camera=True)
    journeys: list[torch.device] = []
    prior.text_encoders[0].encoder.to = journeys.append
    wishes = Wishes.of("a red apple", config)
    g = Guidance(prior, config, wishes, 0, ("white", None), adapter)
    assert len(journeys) == 2, "there and home"
    images, orbit = torch.rand(5, 3, 32, 32), turntable(4, 15.0, 3.3, 40.0)
    above = turntable(1, 80.0, 3.3, 40.0)
    every = Orbit(*(torch.cat([getattr(o, f.name) for o in (orbit, above)]) for f in fields(Orbit)))
    for background in ("white", None):
        g.loss(images, every, background, 0)
    assert len(journeys) == 2
    g.apply(replace(wishes, prompt="a blue apple"))
    assert len(journeys) == 4
    g.loss(images, every, None, 1)
    assert len(journeys) == 4
