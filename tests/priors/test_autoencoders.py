"""Autoencoders that overflow: asked again in float32, once and aloud, and never a black image."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bridge_nerf.errors import UserError
from bridge_nerf.priors.autoencoders import PixelSpace, deferred_checks
from bridge_nerf.priors.diffusers_prior import DiffusersPrior
from bridge_nerf.seeding import generator
from tests.priors.tiny_families import build

HALF, SINGLE = torch.float16, torch.float32
KINDS = {"sd-eps": "AutoencoderKL", "sd-taesd": "AutoencoderTiny"}
ASKED = {
    "decode": torch.randn(2, 4, 8, 8, generator=generator(0, "latents")),
    "encode": torch.rand(2, 3, 32, 32, generator=generator(0, "images")),
}
FLAGS = "--prior.dtype float32 (of ns-train: --pipeline.prior.dtype float32)"


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(request.param, tmp_path_factory.mktemp(request.param) / request.param)


def overflowing(folder: Path, dtype: torch.dtype, layers: int = 1) -> DiffusersPrior:
    """What the first layers answer is more than float16 holds; that of one is far less than float32 does."""
    prior = DiffusersPrior.load(folder, dtype=dtype, name="somebody/something")
    for part in (prior.components.vae.encoder, prior.components.vae.decoder):
        for layer in [layer for layer in part.modules() if isinstance(layer, torch.nn.Conv2d)][:layers]:
            layer.weight.data = (layer.weight.half() * 3e5).clamp(-6e4, 6e4).to(dtype)
    return prior


@pytest.mark.parametrize("ask", ASKED)
def test_what_overflows_in_half_precision_is_asked_again(folder: Path, ask: str, capsys) -> None:
    half, single = overflowing(folder, HALF), overflowing(folder, SINGLE)
    # The same numbers, as float16 rounds them.
    state = {name: value.float() for name, value in half.components.vae.state_dict().items()}
    single.components.vae.load_state_dict(state)
    for _ in range(2):
        answer = getattr(half, ask)(ASKED[ask])
        assert torch.isfinite(answer).all() and answer.dtype == SINGLE
        torch.testing.assert_close(answer, getattr(single, ask)(ASKED[ask]), rtol=0, atol=0)
    assert half.components.vae.dtype == HALF
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and f"the autoencoder of somebody/something ({KINDS[folder.name]})" in said
    assert "overflows in float16" in said and FLAGS in said


def test_what_does_not_overflow_is_asked_once(folder: Path, capsys) -> None:
    prior = DiffusersPrior.load(folder, dtype=HALF)
    for ask, given in ASKED.items():
        getattr(prior, ask)(given)
    assert not capsys.readouterr().out


def test_an_image_that_was_encoded_again_still_has_a_gradient(folder: Path) -> None:
    images = ASKED["encode"].clone().requires_grad_()
    overflowing(folder, HALF).encode(images).square().sum().backward()
    assert images.grad is not None and torch.isfinite(images.grad).all() and images.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [HALF, SINGLE])
@pytest.mark.parametrize("ask", ASKED)
def test_what_overflows_in_single_precision_too_is_refused(
    folder: Path, ask: str, dtype: torch.dtype
) -> None:
    with pytest.raises(UserError, match="not finite, in float32 too") as refusal:
        getattr(overflowing(folder, dtype, 99), ask)(ASKED[ask] * 1e36)
    said = str(refusal.value)
    assert f"somebody/something ({KINDS[folder.name]})" in said and FLAGS in said and "\n" not in said


def test_the_autoencoder_is_not_blamed_for_what_it_was_given(folder: Path) -> None:
    prior = DiffusersPrior.load(folder, dtype=HALF)
    latents, images = (ASKED[ask].clone() for ask in ("decode", "encode"))
    latents[0, 0, 0, 0] = images[0, 0, 0, 0] = float("nan")
    for decode, given in ((prior.decode, latents), (PixelSpace().decode, images)):
        with pytest.raises(UserError, match="latents of an image are not finite"):
            decode(given)
    assert prior.encode(images).isnan().any()


def test_what_nobody_sees_is_not_asked_again(folder: Path, capsys) -> None:
    prior = overflowing(folder, HALF)
    with deferred_checks():
        assert not torch.isfinite(prior.encode(ASKED["encode"])).all()
        assert torch.isfinite(prior.decode(ASKED["decode"])).all(), "clamped, it would pass for an image"
    assert torch.isfinite(prior.encode(ASKED["encode"])).all()
