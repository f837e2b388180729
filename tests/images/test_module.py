"""One step and whole runs of the plain loop, against closed forms and against themselves."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from bridge_nerf.distillation.prior import Condition
from bridge_nerf.errors import UserError
from bridge_nerf.images.generation import Progress, generate
from bridge_nerf.images.module import ImageModule
from bridge_nerf.images.spec import Spec, Subject, subjects_for
from bridge_nerf.images.transforms import TRANSFORMS, transformed
from bridge_nerf.priors.adapter import Adapter
from bridge_nerf.priors.registry import load_prior
from tests.images.conftest import CONFIG, SPEC, changed, several
from tests.priors.test_autoencoders import overflowing
from tests.priors.tiny import build_tiny_pipeline
from tests.priors.tiny_families import build


def last_of(spec: Spec, prior) -> Progress:
    *_, last = generate([spec], prior)
    return last


def made(spec: Spec, prior) -> torch.Tensor:
    return last_of(spec, prior).images()


def test_sds_finds_the_image_that_the_prompt_means(prior):
    """The prior's images are a point mass, so that SDS without guidance has one rest point: the image."""
    config = changed(CONFIG, steps=400, learning_rate=0.1, guidance_scale=1.0, target_descriptors="")
    image = made(replace(SPEC, objective="sds", config=config), prior)
    assert (image[0] - prior.image("a ball")).abs().max() < 0.02


@pytest.mark.parametrize("canvas", ["latents", "pixels", "network"])
def test_every_gradient_of_a_batch_is_that_of_its_single_run(prior, canvas):
    config = changed(CONFIG, canvas=canvas)
    batch = ImageModule(replace(several(range(3, 6)), config=config), prior)
    singles = [ImageModule(replace(several(range(s, s + 1)), config=config), prior) for s in range(3, 6)]
    for step in (0, 7):
        for module in (batch, *singles):
            module.zero_grad()
            module.loss(step).backward()
        for name, parameter in batch.named_parameters():
            alone = torch.cat([dict(module.named_parameters())[name].grad for module in singles])
            torch.testing.assert_close(parameter.grad, alone, rtol=1e-5, atol=1e-7)


def test_the_negative_prompt_is_the_source_descriptors_unless_it_is_given(prior):
    for config, words in (
        (CONFIG, CONFIG.guidance.prompts.source_descriptors),
        (changed(CONFIG, negative_prompt="b"), "b"),
    ):
        prior.asked.clear()
        ImageModule(replace(SPEC, objective="nfsd", config=config), prior)
        assert prior.asked.count(words) == 1


def test_images_of_different_prompts_share_a_batch(prior):
    spec = replace(SPEC, subjects=(Subject(("a ball",), 3), Subject(("a ball, blurry",), 4)))
    together = made(spec, prior)
    for k, subject in enumerate(spec.subjects):
        alone = made(replace(spec, subjects=(subject,)), prior)
        torch.testing.assert_close(together[k], alone[0], rtol=0, atol=1e-5)


def test_a_view_is_optimised_as_it_is_seen(prior):
    """Seen upside down, the image should be the ball; so upright it is the ball upside down."""
    config = changed(
        CONFIG, steps=200, learning_rate=0.05, canvas="pixels", guidance_scale=1.0, target_descriptors=""
    )
    spec = replace(SPEC, objective="sds", config=config, transforms=("90",))
    image = made(spec, prior)
    seen = transformed("90", image)
    assert (seen[0] - prior.image("a ball")).abs().max() < 0.1


@pytest.mark.parametrize("name", TRANSFORMS)
def test_views_keep_every_pixel(name):
    image = torch.arange(48.0).view(1, 3, 4, 4)
    assert sorted(transformed(name, image).flatten().tolist()) == image.flatten().tolist()


def test_an_unknown_view_is_named():
    with pytest.raises(UserError, match="unknown transform '45'; choose one of 0, 90"):
        transformed("45", torch.zeros(1, 3, 2, 2))


def test_the_prior_is_no_part_of_the_state(prior):
    assert set(ImageModule(SPEC, prior).state_dict()) == {"canvas.values"}


def test_latents_must_fill_the_image(prior):
    prior.image_size = 64
    with pytest.raises(UserError, match=r"size 64 x 65 does not suit this prior; give multiples of 4 pixels"):
        ImageModule(replace(SPEC, size=(65, 64)), prior)


def test_a_text_that_descriptors_make_too_long_says_whose_tokens_they_are(tmp_path):
    prior = load_prior(str(build_tiny_pipeline(tmp_path)), "cpu")
    config = changed(CONFIG, target_descriptors="sharp", source_descriptors="blurry " * 25)
    spec = replace(SPEC, subjects=subjects_for(("red apple " * 4,), 0, 1), config=config, size=(32, 32))
    with pytest.raises(UserError, match=r"has 8 tokens and what is added to it 26 .*--source-descriptors"):
        ImageModule(spec, prior)


@pytest.mark.parametrize("canvas", ["latents", "pixels", "network"])
def test_no_canvas_is_smaller_than_a_latent(canvas, tmp_path):
    prior = load_prior(str(build_tiny_pipeline(tmp_path)), "cpu")
    config = changed(CONFIG, target_descriptors="sharp", source_descriptors="blurry", canvas=canvas)
    spec = replace(SPEC, subjects=subjects_for(("apple",), 0, 1), config=config)
    for size in ((1, 1), (3, 3), (6, 4)):
        with pytest.raises(UserError, match="give multiples of 4 pixels"):
            ImageModule(replace(spec, size=size), prior)
    module = ImageModule(replace(spec, size=(4, 4)), prior)
    module.loss(0).backward()
    assert module.images().shape == (1, 3, 4, 4)


def test_latents_that_are_not_finite_are_said_with_their_step(prior):
    module = ImageModule(SPEC, prior)
    module.canvas.values.data.fill_(float("nan"))
    with pytest.raises(UserError, match="step 5: non-finite gradient.*the latents are not finite; lower the"):
        module.loss(5)


def broken(x_t: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
    """What a network answers that overflows."""
    return torch.full_like(x_t, float("nan"))


def test_before_anything_is_learnt_the_prior_is_blamed(prior):
    prior.eps, prior.dtype = broken, torch.float16
    for module in (ImageModule(SPEC, prior), ImageModule(replace(SPEC, objective="vsd"), prior)):
        with pytest.raises(UserError, match="step 0.*nothing has been learnt yet") as refusal:
            module.loss(0)
        assert "the prior stub in float16 answers" in str(refusal.value)
        assert str(refusal.value).endswith(
            "give --prior.dtype float32 (of ns-train: --pipeline.prior.dtype float32)"
        )
        with pytest.raises(
            UserError, match="step 3.*lower the learning rate or the guidance, or give --prior.dtype"
        ):
            module.loss(3)


def test_an_adapter_that_is_not_finite_is_said_at_once(prior, monkeypatch):
    module = ImageModule(replace(SPEC, objective="vsd"), prior)
    monkeypatch.setattr(Adapter, "loss", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(UserError, match="step 3: the adapter loss is nan"):
        module.loss(3)


def test_latents_turn_through_the_image(prior):
    prior.decode = lambda latents: (latents / 50).clamp(0, 1)
    prior.encode = lambda images: 50 * images + torch.linspace(0, 1, 16)  # says where is right
    module = ImageModule(replace(SPEC, objective="sds", transforms=("90",)), prior)
    module.canvas.values.data.uniform_(1, 40, generator=torch.Generator().manual_seed(0))
    seen = module.canvas.latents("90")
    torch.testing.assert_close(seen, prior.encode(transformed("90", module.images())))
    weights = torch.arange(seen.numel()).view_as(seen).float()
    (seen * weights).sum().backward()
    torch.testing.assert_close(module.canvas.values.grad, transformed("270", weights))


@pytest.mark.parametrize("objective", ["bridge", "vsd"])
def test_a_step_whose_images_overflow_is_made_again_in_single_precision(objective, tmp_path, monkeypatch):
    """As if the autoencoder had been looked at from the first."""
    prior = overflowing(build("sd-eps", tmp_path / "sd"), torch.float16)
    config = changed(
        CONFIG, steps=3, canvas="pixels", target_descriptors="sharp", source_descriptors="blurry"
    )
    subjects = subjects_for(("apple",), 0, 1)
    spec = replace(SPEC, objective=objective, subjects=subjects, config=config, size=(32, 32))
    ends = []
    for _ in range(2):
        last = last_of(spec, prior)
        ends.append((last.images(), last.metrics))
        monkeypatch.setattr("bridge_nerf.guidance.distiller.deferred_checks", nullcontext)
    assert ends[0][0].isfinite().all() and torch.equal(ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1]


def test_every_text_is_read_in_one_visit(tmp_path):
    prior = load_prior(str(build_tiny_pipeline(tmp_path)), "cpu")
    journeys = []
    prior.text_encoders[0].encoder.to = journeys.append
    config = changed(CONFIG, target_descriptors="sharp", source_descriptors="blurry")
    spec = replace(several(range(2)), objective="vsd", config=config, size=(32, 32))
    module = ImageModule(spec, prior)
    assert len(journeys) == 2, "there and home"
    module.loss(0)
    assert len(journeys) == 2
