"""The numbers of a DiffusersPrior, against the pipelines and schedulers of Diffusers themselves."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, PNDMScheduler, StableDiffusionPipeline

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.errors import UserError
from bridge_nerf.priors.diffusers_prior import DiffusersPrior
from bridge_nerf.seeding import generator
from tests.priors.tiny import build_tiny_pipeline

PROMPTS = ["a red pineapple, front view", "", "an apple"]
TIMES = torch.tensor([40, 500, 960])


def noise(*shape: int, key: str = "x") -> torch.Tensor:
    return torch.randn(*shape, generator=generator(0, key))


def diffusers_pipeline(folder: Path) -> Any:
    """The reference implementation."""
    return StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)


@pytest.fixture(scope="module", params=["closed_folder", "open_folder"])
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def prior(folder: Path) -> DiffusersPrior:
    return DiffusersPrior.load(folder)


def test_is_an_image_prior_that_describes_itself(prior: DiffusersPrior) -> None:
    assert isinstance(prior, ImagePrior) and not isinstance(prior, torch.nn.Module)
    assert (prior.image_size, prior.latent_shape) == (32, (4, 8, 8))
    assert (prior.device, prior.dtype) == (torch.device("cpu"), torch.float32)
    assert prior.schedule.num_timesteps == 1000


def test_eps_is_what_the_scheduler_of_diffusers_makes_of_the_answer(
    prior: DiffusersPrior, folder: Path
) -> None:
    pipeline = diffusers_pipeline(folder)
    scheduler: Any = DDIMScheduler.from_config(pipeline.scheduler.config, set_alpha_to_one=False)
    scheduler.set_timesteps(1000)
    x_t = noise(3, 4, 8, 8)
    eps = prior.eps(x_t, TIMES, prior.embed(PROMPTS))
    for row, (prompt, t) in enumerate(zip(PROMPTS, TIMES, strict=True)):
        told, _ = pipeline.encode_prompt(prompt, "cpu", 1, do_classifier_free_guidance=False)
        answer = pipeline.unet(x_t[[row]], t, told).sample
        x0 = scheduler.step(answer, t, x_t[[row]]).pred_original_sample
        # The scheduler's own forward process must lead back from its x0 and our eps.
        again = scheduler.add_noise(x0, eps[[row]], t[None])
        torch.testing.assert_close(again, x_t[[row]], rtol=1e-4, atol=1e-4)


def test_a_batch_with_mixed_times_and_prompts_equals_single_calls(prior: DiffusersPrior) -> None:
    x_t, told = noise(3, 4, 8, 8), prior.embed(PROMPTS)
    singles = [prior.eps(x_t[[row]], TIMES[[row]], told[row]) for row in range(3)]
    torch.testing.assert_close(prior.eps(x_t, TIMES, told), torch.cat(singles), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(singles[0], prior.eps(x_t[[0]], TIMES[[0]], told[1]), atol=1e-4)


def test_encode_and_decode_agree_with_the_pipeline(prior: DiffusersPrior, folder: Path) -> None:
    pipeline = diffusers_pipeline(folder)
    images = torch.rand(2, 3, 32, 32, generator=generator(0, "images"))
    latents = prior.encode(images)
    mean = pipeline.vae.encode(pipeline.image_processor.preprocess(images)).latent_dist.mean
    torch.testing.assert_close(latents, mean * pipeline.vae.config.scaling_factor)
    decoded = prior.decode(latents)
    raw = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
    torch.testing.assert_close(decoded, pipeline.image_processor.postprocess(raw, "pt"))
    assert latents.shape[1:] == prior.latent_shape and decoded.shape == images.shape


def test_a_shift_of_the_latents_is_honoured(open_folder: Path) -> None:
    prior = DiffusersPrior.load(open_folder)
    images = torch.rand(1, 3, 32, 32, generator=generator(0, "images"))
    plain = prior.encode(images)
    prior.components.vae.register_to_config(shift_factor=0.5)
    shifted = prior.encode(images)
    torch.testing.assert_close(shifted, plain - 0.5 * prior.components.vae.config.scaling_factor)
    prior.components.vae.register_to_config(shift_factor=None)
    expected = prior.decode(plain)
    prior.components.vae.register_to_config(shift_factor=0.5)
    torch.testing.assert_close(prior.decode(shifted), expected)


def test_gradients_reach_the_images_and_nothing_else(open_folder: Path) -> None:
    prior = DiffusersPrior.load(open_folder, dtype=torch.float64)
    images = torch.rand(1, 3, 32, 32, generator=generator(0, "images"), dtype=torch.float64)
    images.requires_grad_()
    pull = noise(1, 4, 8, 8).double()
    (prior.encode(images) * pull).sum().backward()

    direction, h = noise(1, 3, 32, 32, key="direction").double(), 1e-5
    with torch.no_grad():
        ahead, behind = (prior.encode(images + sign * h * direction) for sign in (1, -1))
    numeric = ((ahead - behind) * pull).sum() / (2 * h)
    assert images.grad is not None
    torch.testing.assert_close((images.grad * direction).sum(), numeric, rtol=1e-6, atol=1e-9)
    parts = prior.components
    for network in (parts.denoiser, parts.vae, prior.text_encoders[0].encoder):
        assert not network.training
        assert all(not p.requires_grad and p.grad is None for p in network.parameters())


def test_eps_follows_the_grad_mode_of_its_caller(prior: DiffusersPrior) -> None:
    x_t = noise(1, 4, 8, 8).requires_grad_()
    told = prior.embed(["an apple"])
    assert prior.eps(x_t, TIMES[:1], told).requires_grad
    with torch.no_grad():
        assert not prior.eps(x_t, TIMES[:1], told).requires_grad


def test_bfloat16_answers_in_the_dtype_of_the_question(prior: DiffusersPrior, folder: Path) -> None:
    half = DiffusersPrior.load(folder, dtype=torch.bfloat16)
    x_t, images = noise(3, 4, 8, 8), torch.rand(1, 3, 32, 32, generator=generator(0, "images"))
    assert half.dtype == torch.bfloat16
    eps, reference = (p.eps(x_t, TIMES, p.embed(PROMPTS)) for p in (half, prior))
    assert eps.dtype == torch.float32
    torch.testing.assert_close(eps, reference, rtol=0.05, atol=0.05)
    latents = half.encode(images)
    assert latents.dtype == half.decode(latents).dtype == torch.float32
    torch.testing.assert_close(latents, prior.encode(images), rtol=0.05, atol=0.05)


def test_embeddings_are_those_of_the_pipeline_and_are_computed_once(folder: Path) -> None:
    prior, pipeline = DiffusersPrior.load(folder), diffusers_pipeline(folder)
    calls: list[int] = []
    prior.text_encoders[0].encoder.register_forward_hook(lambda *_: calls.append(1))
    condition = prior.embed([*PROMPTS, PROMPTS[0]])
    assert len(condition) == 4 and len(calls) == 3 and not condition.embedding.requires_grad
    expected = [pipeline.encode_prompt(prompt, "cpu", 1, False)[0] for prompt in [*PROMPTS, PROMPTS[0]]]
    torch.testing.assert_close(condition.embedding, torch.cat(expected))
    assert (
        torch.equal(prior.embed(PROMPTS[::-1]).embedding, condition.embedding[[2, 1, 0]]) and len(calls) == 3
    )


def test_padding_is_masked_where_the_encoder_was_trained_so(open_folder: Path) -> None:
    prior, pipeline = DiffusersPrior.load(open_folder), diffusers_pipeline(open_folder)
    plain = DiffusersPrior.load(open_folder).embed(["an apple"]).embedding
    for encoder in (prior.text_encoders[0].encoder, pipeline.text_encoder):
        encoder.config.use_attention_mask = True
    masked = prior.embed(["an apple"]).embedding
    torch.testing.assert_close(masked, pipeline.encode_prompt("an apple", "cpu", 1, False)[0])
    assert not torch.equal(masked, plain)


def test_an_answer_in_x0_is_converted_too(tmp_path: Path) -> None:
    prior = DiffusersPrior.load(build_tiny_pipeline(tmp_path, "sample"))
    x_t, told = noise(3, 4, 8, 8), prior.embed(PROMPTS)
    eps = prior.eps(x_t, TIMES, told)
    x0 = prior.components.denoiser(x_t, TIMES, told.embedding).sample
    torch.testing.assert_close(prior.schedule.add_noise(x0, eps, TIMES), x_t, rtol=1e-4, atol=1e-4)


def test_an_unknown_prediction_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'"flow".*epsilon, v_prediction, sample'):
        DiffusersPrior.load(build_tiny_pipeline(tmp_path, "flow"))


def test_a_pipeline_saved_again_is_the_same_prior(
    prior: DiffusersPrior, folder: Path, tmp_path: Path
) -> None:
    pipeline = diffusers_pipeline(folder)
    # Stable Diffusion is published with this scheduler; its schedule is the same.
    pipeline.scheduler = PNDMScheduler.from_config(pipeline.scheduler.config)
    pipeline.save_pretrained(tmp_path)
    again = DiffusersPrior.load(tmp_path)
    x_t = noise(3, 4, 8, 8)
    told = prior.embed(PROMPTS)
    assert torch.equal(again.embed(PROMPTS).embedding, told.embedding)
    torch.testing.assert_close(again.eps(x_t, TIMES, told), prior.eps(x_t, TIMES, told), rtol=0, atol=0)
    assert again.vocabulary is None  # words.json is ours: a pipeline does not carry it along


def test_half_precision_weights_are_found_under_their_own_name(open_folder: Path, tmp_path: Path) -> None:
    pipeline = diffusers_pipeline(open_folder).to(torch.float16)
    pipeline.save_pretrained(tmp_path, variant="fp16")
    reference, prior = DiffusersPrior.load(open_folder), DiffusersPrior.load(tmp_path)
    assert prior.dtype == torch.float32
    x_t, told = noise(3, 4, 8, 8), reference.embed(PROMPTS)
    torch.testing.assert_close(
        prior.eps(x_t, TIMES, told), reference.eps(x_t, TIMES, told), rtol=0, atol=0.02
    )
