"""Networks that keep their precision under autocast, and gradients that do not underflow in float16."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bridge_nerf.distillation.prior import Condition
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.priors import adapter as adapters
from bridge_nerf.priors.adapter import Adapter
from bridge_nerf.priors.diffusers_prior import DiffusersPrior
from bridge_nerf.priors.precision import ScaledBackward
from bridge_nerf.seeding import generator
from tests.priors.tiny_families import FAMILIES, build

TIMES = torch.tensor([40, 960])


def given(prior: DiffusersPrior, name: str) -> torch.Tensor:
    return torch.randn(2, *prior.latent_shape, generator=generator(0, name))


def learning(prior: DiffusersPrior) -> Adapter:
    """As after some steps: at first half of its gradients are zero."""
    adapter = Adapter(prior, rank=2, camera=True)
    with torch.no_grad():
        for name, value in adapter.named_parameters():
            value.copy_(0.1 * torch.randn(value.shape, generator=generator(0, name)))
    return adapter


def told(prior: DiffusersPrior) -> Condition:
    return prior.embed(["a red apple"]).expand(2).telling(camera=torch.eye(3, 4).expand(2, 3, 4))


def sample(prior: DiffusersPrior) -> Sample:
    return Sample(given(prior, "x"), TIMES, given(prior, "noise"))


def gradients(adapter: Adapter, prior: DiffusersPrior, size: float = 1.0) -> dict[str, torch.Tensor]:
    loss = adapter.loss(sample(prior), told(prior))
    names, parameters = zip(*adapter.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(size * loss, parameters), strict=True))


def everything(prior: DiffusersPrior) -> list[torch.Tensor]:
    """What a prior answers, and the gradients that go through it."""
    images = torch.rand(1, 3, prior.image_size, prior.image_size, generator=generator(0, "images"))
    latents = prior.encode(images.requires_grad_())
    answers = [prior.embed(["a red apple"]).embedding, latents, prior.decode(latents.detach())]
    answers.append(prior.eps(given(prior, "x"), TIMES, prior.embed(["a red apple", ""])))
    loss, adapter = latents.square().sum(), learning(prior)
    learnt = adapter.loss(sample(prior), told(prior))
    with torch.autocast("cpu", enabled=False):  # as trainers do
        changes = torch.autograd.grad(learnt, list(adapter.parameters()))
        return [*answers, learnt, *torch.autograd.grad(loss, images), *changes]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", FAMILIES)
def test_no_autocast_reaches_a_prior(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    folder = build(name, tmp_path)
    wanted = everything(DiffusersPrior.load(folder, dtype=dtype))
    prior = DiffusersPrior.load(folder, dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        answers = everything(prior)
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16, "it acts again outside of it"
    for answer, want in zip(answers, wanted, strict=True):
        assert answer.dtype == want.dtype and torch.equal(answer, want)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sd-eps", tmp_path_factory.mktemp("sd"))


@pytest.fixture(scope="module")
def half(folder: Path) -> DiffusersPrior:
    return DiffusersPrior.load(folder, dtype=torch.float16)


@pytest.fixture(scope="module")
def single(folder: Path, half: DiffusersPrior) -> DiffusersPrior:
    """The same weights, as float16 has rounded them."""
    prior, rounded = DiffusersPrior.load(folder), half.components.denoiser.state_dict()
    prior.components.denoiser.load_state_dict({name: value.float() for name, value in rounded.items()})
    return prior


TINY = 2.0**-17
"""A mean over 2^17 times as many entries has such a gradient."""


def worst_error(found: dict[str, torch.Tensor], exact: dict[str, torch.Tensor]) -> float:
    return max(float((found[name] - want).norm() / want.norm()) for name, want in exact.items())


def test_gradients_that_underflow_in_float16_are_carried(
    half: DiffusersPrior, single: DiffusersPrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = gradients(learning(single), single, TINY)
    assert worst_error(gradients(learning(half), half, TINY), exact) < 0.03
    monkeypatch.setattr(adapters, "ScaledBackward", lambda dtype: ScaledBackward(torch.float32))
    assert worst_error(gradients(learning(half), half, TINY), exact) > 0.9, "so it is without"


def test_the_answer_is_that_of_the_network_and_the_gradient_reaches_what_it_is_asked_about(
    half: DiffusersPrior, single: DiffusersPrior
) -> None:
    slopes = []
    for prior in (half, single):
        x_t = given(prior, "x").requires_grad_()
        answer = learning(prior).eps(x_t, TIMES, told(prior))
        slopes.append(torch.autograd.grad((TINY * answer * given(prior, "pull")).sum(), x_t)[0] / TINY)
        with torch.no_grad():
            assert torch.equal(answer, learning(prior).eps(x_t, TIMES, told(prior)))
    torch.testing.assert_close(slopes[0], slopes[1], rtol=0.02, atol=0.02)


def test_a_grad_scaler_changes_nothing_and_sees_what_is_not_finite(half: DiffusersPrior) -> None:
    adapter = learning(half)
    wanted = gradients(adapter, half)
    for size, found_inf in ((1.0, 0.0), (float("inf"), 1.0)):
        optimizer = torch.optim.SGD(adapter.parameters(), lr=0.0)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
        loss = adapter.loss(sample(half), told(half))
        optimizer.zero_grad()
        scaler.scale(size * loss).backward()
        scaler.unscale_(optimizer)
        if not found_inf:
            assert all(torch.equal(p.grad, wanted[name]) for name, p in adapter.named_parameters())  # pyright: ignore[reportArgumentType]
        scaler.step(optimizer)
        scaler.update()
        assert scaler.get_scale() == 2.0 ** (15 if found_inf else 16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_is_scaled_where_nothing_underflows(dtype: torch.dtype) -> None:
    value = torch.ones(2, requires_grad=True)
    backward = ScaledBackward(dtype)
    assert backward.entering(value) is value and backward.leaving(value) is value


def test_no_gradient_stays_none() -> None:
    value = torch.ones(3, requires_grad=True)
    backward = ScaledBackward(torch.float16)
    (backward.leaving(2 * backward.entering(value)) * 0).sum().backward()
    assert value.grad is not None and value.grad.tolist() == [0.0, 0.0, 0.0]
