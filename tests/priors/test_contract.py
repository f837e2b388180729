"""What every family of priors promises, in single precision and in both halves."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from bridge_nerf.distillation.prior import Condition, ImagePrior
from bridge_nerf.errors import UserError
from bridge_nerf.priors import cpu
from bridge_nerf.priors.cpu import BlockedAttention
from bridge_nerf.priors.diffusers_prior import DiffusersPrior
from bridge_nerf.seeding import generator
from tests.priors.tiny_families import FAMILIES, build

PROMPTS = ["a red pineapple, front view", "", "an apple"]
TIMES = torch.tensor([40, 500, 960])


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def exact(folder: Path) -> DiffusersPrior:
    return DiffusersPrior.load(folder)


@pytest.fixture(scope="module", params=["float32", "bfloat16", "float16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return getattr(torch, request.param)


@pytest.fixture(scope="module")
def prior(dtype: torch.dtype, folder: Path) -> DiffusersPrior:
    return DiffusersPrior.load(folder, dtype=dtype)


@pytest.fixture(scope="module")
def tolerance(prior: DiffusersPrior) -> dict[str, float]:
    """Of numbers near 1 that went through the networks."""
    return {"rtol": 1e-4, "atol": 1e-5} if prior.dtype == torch.float32 else {"rtol": 0.05, "atol": 0.05}


def noise(prior: DiffusersPrior, key: str = "x") -> torch.Tensor:
    return torch.randn(3, *prior.latent_shape, generator=generator(0, key))


def random_images(prior: DiffusersPrior) -> torch.Tensor:
    size = prior.image_size
    return torch.rand(2, 3, size, size, generator=generator(0, "images"))


def test_it_is_an_image_prior_and_no_module(prior: DiffusersPrior, dtype: torch.dtype) -> None:
    assert isinstance(prior, ImagePrior) and not isinstance(prior, torch.nn.Module)
    assert prior.device == torch.device("cpu") and prior.image_size % prior.latent_shape[1] == 0
    parts = prior.components
    assert prior.dtype == dtype
    # The XL's autoencoder overflows in float16, and so does a T5.
    wide = torch.bfloat16 if dtype == torch.float16 else dtype
    is_xl = type(prior).__name__ == "StableDiffusionXL"
    assert parts.vae is None or parts.vae.dtype == (wide if is_xl else dtype)
    for text in prior.text_encoders:
        assert text.encoder.dtype == (wide if "T5" in type(text.encoder).__name__ else dtype)
    for network in (parts.denoiser, parts.vae, *(text.encoder for text in prior.text_encoders)):
        if network is not None:
            assert not network.training and not any(p.requires_grad for p in network.parameters())


def test_the_schedule_falls_from_clean_to_noise(prior: DiffusersPrior) -> None:
    t = torch.arange(prior.schedule.num_timesteps)
    alpha, sigma = prior.schedule.alpha(t), prior.schedule.sigma(t)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(alpha))
    assert (alpha.diff() < 0).all() and alpha[0] > 0.98 and 0 < alpha[-1] < 0.1
    assert prior.schedule.num_timesteps >= 999


def test_conversions_lead_back(prior: DiffusersPrior) -> None:
    x_t, answer = noise(prior), noise(prior, "answer")
    x0 = prior.schedule.x0_from_eps(x_t, answer, TIMES)
    torch.testing.assert_close(prior.schedule.add_noise(x0, answer, TIMES), x_t, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(prior.schedule.eps_from_x0(x_t, x0, TIMES), answer, rtol=1e-3, atol=1e-3)


def test_eps_has_the_shape_and_dtype_of_the_question(prior: DiffusersPrior, exact: DiffusersPrior) -> None:
    x_t = noise(prior)
    eps = prior.eps(x_t, TIMES, prior.embed(PROMPTS))
    assert eps.shape == x_t.shape and eps.dtype == torch.float32
    torch.testing.assert_close(eps, exact.eps(x_t, TIMES, exact.embed(PROMPTS)), rtol=0.1, atol=0.1)


def test_a_batch_with_mixed_times_and_prompts_equals_single_calls(
    prior: DiffusersPrior, tolerance: dict[str, float]
) -> None:
    x_t, told = noise(prior), prior.embed(PROMPTS)
    singles = [prior.eps(x_t[[row]], TIMES[[row]], told[row]) for row in range(3)]
    torch.testing.assert_close(prior.eps(x_t, TIMES, told), torch.cat(singles), **tolerance)


def test_eps_depends_on_prompt_and_time(exact: DiffusersPrior) -> None:
    x_t, told = noise(exact)[:1], exact.embed(PROMPTS)
    usual = exact.eps(x_t, TIMES[:1], told[0])
    assert not torch.allclose(usual, exact.eps(x_t, TIMES[:1], told[2]), atol=1e-6)
    assert not torch.allclose(usual, exact.eps(x_t, TIMES[1:2], told[0]), atol=1e-4)


def test_every_extra_reaches_the_network(exact: DiffusersPrior) -> None:
    x_t, told = noise(exact)[:1], exact.embed(PROMPTS[:1])
    for name, value in told.extra.items():
        other = Condition(told.embedding, {**told.extra, name: value + 1})
        usual, changed = (exact.eps(x_t, TIMES[:1], condition) for condition in (told, other))
        assert not torch.allclose(usual, changed, atol=1e-6), name


def test_images_are_encoded_and_decoded(prior: DiffusersPrior, exact: DiffusersPrior) -> None:
    images = random_images(prior)
    latents = prior.encode(images)
    decoded = prior.decode(latents)
    assert latents.shape[1:] == prior.latent_shape and decoded.shape == images.shape
    assert latents.dtype == decoded.dtype == torch.float32
    assert decoded.min() >= 0 and decoded.max() <= 1
    torch.testing.assert_close(latents, exact.encode(images), rtol=0.05, atol=0.1)


def test_embeddings_are_computed_once_and_encoders_go_home(folder: Path, exact: DiffusersPrior) -> None:
    prior, calls = DiffusersPrior.load(folder), []
    for text in prior.text_encoders:
        text.encoder.register_forward_hook(lambda *_: calls.append(1))
    condition = prior.embed([*PROMPTS, PROMPTS[0]])
    assert len(condition) == 4 and len(calls) == 3 * len(prior.text_encoders)
    assert not condition.embedding.requires_grad
    again = prior.embed(PROMPTS[::-1])
    assert again.equals(Condition.cat([condition[k] for k in (2, 1, 0)]))
    assert torch.equal(again.embedding, condition.embedding[[2, 1, 0]])
    assert len(calls) == 3 * len(prior.text_encoders)
    for row, prompt in enumerate(PROMPTS):
        alone = exact.embed([prompt])
        assert alone.says == condition[row].says and torch.equal(alone.embedding, condition[row].embedding)
        for name, value in alone.extra.items():
            assert torch.equal(value, condition[row].extra[name])
    assert not torch.equal(condition.embedding[0], condition.embedding[2])


def test_text_encoders_visit_the_device_once_for_all_prompts(folder: Path) -> None:
    prior = DiffusersPrior.load(folder)
    journeys: list[int] = []
    for k, text in enumerate(prior.text_encoders):
        text.encoder.to = lambda *_, k=k: journeys.append(k)
    prior.embed([*PROMPTS, PROMPTS[0]])
    assert journeys == [k for k in range(len(prior.text_encoders)) for _ in ("there", "home")]
    prior.embed(PROMPTS[::-1])
    assert len(journeys) == 2 * len(prior.text_encoders)


def test_prompts_are_checked(prior: DiffusersPrior) -> None:
    prior.check_prompts(PROMPTS[::2])
    with pytest.raises(UserError, match="prompt is empty"):
        prior.check_prompts([""])
    with pytest.raises(UserError, match=r"has \d+ tokens, the text encoder takes \d+: shorten it"):
        prior.embed(["apple " * 300])


def test_gradients_reach_images_and_latents(prior: DiffusersPrior) -> None:
    images = random_images(prior).requires_grad_()
    prior.encode(images).square().sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0
    x_t, told = noise(prior).requires_grad_(), prior.embed(PROMPTS)
    assert prior.eps(x_t, TIMES, told).requires_grad
    with torch.no_grad():
        assert not prior.eps(x_t, TIMES, told).requires_grad


def test_attention_block_by_block_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where every head is long enough for it."""
    monkeypatch.setattr(cpu, "BLOCK_LOGITS", 1)
    calls, original = [], cpu.blocked_attention
    monkeypatch.setattr(cpu, "blocked_attention", lambda *given: calls.append(1) or original(*given))
    prior = DiffusersPrior.load(folder, dtype=torch.bfloat16)
    x_t, told = noise(prior), prior.embed(PROMPTS)
    prior.attention = nullcontext
    with torch.no_grad():
        wanted = prior.eps(x_t, TIMES, told)
        assert not calls
        prior.attention = BlockedAttention
        answer = prior.eps(x_t, TIMES, told)
    assert calls
    torch.testing.assert_close(answer, wanted, rtol=0, atol=0.025)


def test_images_stay_in_the_order_of_memory_that_convolutions_like(exact: DiffusersPrior) -> None:
    turned = []

    def look(name: str) -> Any:
        def hook(module: Any, given: Any) -> None:
            if not given[0].is_contiguous(memory_format=torch.channels_last):
                turned.append(name)

        return hook

    # The first layer gets what it gets; proj_out is given what its own transformer made of words of pixels.
    inner = {
        name: module
        for name, module in exact.components.denoiser.named_modules()
        if isinstance(module, torch.nn.Conv2d)
        and not name.endswith(("conv_in", "pos_embed.proj", "proj_out"))
    }
    assert bool(inner) != ("Transformer" in type(exact.components.denoiser).__name__)  # it has no others
    handles = [module.register_forward_pre_hook(look(name)) for name, module in inner.items()]
    exact.eps(noise(exact), TIMES, exact.embed(PROMPTS))
    for handle in handles:
        handle.remove()
    assert not turned


def reference(folder: Path) -> Any:
    """The whole pipeline, as Diffusers loads it."""
    index = json.loads((folder / "model_index.json").read_text())
    left_out = "Diffusion3" in index["_class_name"] and None in index["text_encoder_3"]
    options: dict[str, Any] = {"text_encoder_3": None, "tokenizer_3": None} if left_out else {}
    pipeline: Any = diffusers.DiffusionPipeline.from_pretrained(folder, **options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def reference_x0(pipeline: Any, prompt: str, x_t: torch.Tensor, t: int) -> torch.Tensor:
    """x0 as the whole pipeline of Diffusers predicts it: sampling in one step from t, without guidance."""
    if isinstance(pipeline, diffusers.IFPipeline):  # does not take latents
        told, _ = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False)
        return pipeline.scheduler.step(pipeline.unet(x_t, t, told).sample, t, x_t).pred_original_sample
    levels: dict[str, Any] = {"timesteps": [t]}
    if isinstance(pipeline, diffusers.StableDiffusion3Pipeline):
        u, levels = (t + 1) / 1000, {"sigmas": [(t + 1) / 1000]}  # before the scheduler's shift
        u = 3 * u / (1 + 2 * u)
        x_t = x_t * ((1 - u) ** 2 + u**2) ** 0.5
    options: dict[str, Any] = {"guidance_scale": 1.0, "latents": x_t, "output_type": "latent"}
    return pipeline(prompt, **levels, **options).images


def test_eps_is_what_the_pipeline_of_diffusers_predicts(folder: Path, exact: DiffusersPrior) -> None:
    pipeline = reference(folder)
    if "FlowMatch" not in type(pipeline.scheduler).__name__:
        pipeline.scheduler = diffusers.DDPMScheduler.from_config(
            pipeline.scheduler.config, timestep_spacing="leading"
        )
    for row, t in enumerate(TIMES.tolist()):
        x_t, prompt = noise(exact)[[row]], "a red pineapple, front view"
        x0 = reference_x0(pipeline, prompt, x_t, t)
        eps = exact.eps(x_t, TIMES[[row]], exact.embed([prompt]))
        ours = exact.schedule.x0_from_eps(x_t, eps, TIMES[[row]])
        torch.testing.assert_close(ours, x0, rtol=2e-3, atol=2e-3)


def test_no_prompt_is_what_the_pipeline_takes_for_it(folder: Path, exact: DiffusersPrior) -> None:
    pipeline = reference(folder)
    more = {"prompt_2": None, "prompt_3": None} if "Diffusion3" in type(pipeline).__name__ else {}
    answer = pipeline.encode_prompt(
        "a", **more, num_images_per_prompt=1, do_classifier_free_guidance=True, device="cpu"
    )
    told = exact.embed([""])
    torch.testing.assert_close(told.embedding, answer[1])
    if told.extra:
        torch.testing.assert_close(told.extra["pooled"], answer[3])
