"""The adapter against a distribution whose best prediction is known, and on the layout of real pipelines."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from bridge_nerf.distillation.prior import Condition, DiffusionPrior
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.errors import UserError
from bridge_nerf.priors.adapter import Adapter
from bridge_nerf.priors.diffusers_prior import DiffusersPrior
from bridge_nerf.priors.gaussian_mixture import GaussianMixture
from bridge_nerf.schedules import NoiseSchedule, expand_like
from bridge_nerf.seeding import generator

WIDTH, STD = 3, 0.5
T = torch.tensor([50, 300, 600, 900])


class Gaussian:
    """N(0, STD^2 I), answered exactly by a network with one linear layer on (x_t, 1, embedding), scaled."""

    def __init__(self, prediction_type: str) -> None:
        self.schedule = NoiseSchedule.scaled_linear()
        layer = nn.Linear(2 * WIDTH + 1, WIDTH, bias=False).requires_grad_(False)
        layer.weight.copy_(torch.eye(WIDTH, 2 * WIDTH + 1))
        self.network = nn.ModuleDict({"to_q": layer})
        self.prediction_type, self.uncompiled = prediction_type, nullcontext

    def embed(self, prompts):
        return Condition(torch.zeros(len(prompts), WIDTH))

    def eps(self, x_t, t, condition):
        alpha, sigma = (expand_like(f(t), x_t) for f in (self.schedule.alpha, self.schedule.sigma))
        features = torch.cat([x_t, -alpha.expand(-1, 1), -alpha * condition.embedding], 1)
        return sigma / (alpha**2 * STD**2 + sigma**2) * self.network["to_q"](features)


def fit(adapter: Adapter, draw: Callable[[torch.Generator], tuple], steps: int, lr: float) -> list[float]:
    """Train on (x, condition) drawn anew at every step; the losses."""
    optimizer, losses = torch.optim.Adam(adapter.parameters(), lr), []
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, steps)
    for step in range(steps):
        draws = generator(0, "fit", step)
        x, condition = draw(draws)
        t = torch.randint(1000, (len(x),), generator=draws)
        loss = adapter.loss(Sample(x, t, torch.randn(x.shape, generator=draws)), condition)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_it_learns_a_shifted_distribution(prediction_type):
    prior, mean = Gaussian(prediction_type), torch.tensor([1.0, -2.0, 0.5])
    adapter, condition = Adapter(prior, rank=2), prior.embed([""]).expand(64)
    losses = fit(adapter, lambda g: (mean + STD * torch.randn(64, WIDTH, generator=g), condition), 400, 0.02)
    assert sum(losses[-50:]) < 0.8 * sum(losses[:50])
    exact = GaussianMixture.isotropic({"only": mean.tolist()}, std=STD)
    x_t = torch.randn(4, WIDTH, generator=generator(0, "x_t"))
    truth = exact.eps(x_t, T, exact.embed([""]).expand(4))
    before, after = prior.eps(x_t, T, condition[:4]), adapter.eps(x_t, T, condition[:4])
    assert (after - truth).norm() < 0.04 * (before - truth).norm()


def test_it_learns_what_each_camera_sees():
    """Images that differ with the camera: mean +1 seen from one, -1 from the other."""
    prior = Gaussian("epsilon")
    prior.embed = lambda prompts: Condition(torch.zeros(len(prompts), WIDTH))
    sides = torch.stack([torch.eye(3, 4), -torch.eye(3, 4)])

    def told(sign):
        return Condition(torch.zeros(len(sign), WIDTH), {"camera": sides[(sign < 0).long()]})

    def draw(g):
        sign = torch.randint(2, (64,), generator=g) * 2 - 1.0
        return sign[:, None] + STD * torch.randn(64, WIDTH, generator=g), told(sign)

    adapter = Adapter(prior, rank=4, camera=True)
    fit(adapter, draw, 400, 0.02)
    x_t, t = torch.zeros(2, WIDTH), torch.tensor([500, 500])
    alpha, sigma = (prior.schedule.alpha(t)[:, None], prior.schedule.sigma(t)[:, None])
    sign = torch.tensor([1.0, -1.0])
    truth = (-sigma * alpha / (alpha**2 * STD**2 + sigma**2)).float() * sign[:, None]
    torch.testing.assert_close(
        adapter.eps(x_t, t, told(sign)).detach(), truth.expand(2, WIDTH), atol=0.1, rtol=0
    )
    with pytest.raises(UserError, match="camera"):
        adapter.eps(x_t, t, prior.embed([""]).expand(2))


@pytest.fixture(scope="module", params=["open_folder", "closed_folder"])
def pipeline(request: pytest.FixtureRequest) -> DiffusersPrior:
    """Tiny pipelines in the layout of Stable Diffusion: one answers eps, one v."""
    folder: Path = request.getfixturevalue(request.param)
    return DiffusersPrior.load(folder)


def test_a_pipeline_is_adapted_and_stays_what_it_was(pipeline: DiffusersPrior):
    adapter = Adapter(pipeline, rank=4, camera=True)
    assert isinstance(adapter, DiffusionPrior)
    shape = (4, *pipeline.latent_shape)
    mean = torch.randn(pipeline.latent_shape, generator=generator(0, "mean"))
    x_t = torch.randn(shape, generator=generator(0, "x_t"))
    bare = pipeline.embed(["a red apple"]).expand(4)
    told = Condition(bare.embedding, {"camera": torch.eye(3, 4).expand(4, 3, 4)})
    before = pipeline.eps(x_t, T, bare)
    assert torch.equal(adapter.eps(x_t, T, told), before), "at first it answers as the prior"
    unseen = Sample(mean + 0.1 * torch.randn(shape, generator=generator(0, "unseen")), T, x_t), told
    first = adapter.loss(*unseen).item()
    fit(adapter, lambda g: (mean + 0.1 * torch.randn(shape, generator=g), told), 60, 0.02)
    assert adapter.loss(*unseen).item() < 0.97 * first
    assert torch.equal(pipeline.eps(x_t, T, bare), before), "the prior is untouched"
    assert not torch.equal(adapter.eps(x_t, T, told), before)


def test_it_owns_its_corrections_alone(pipeline: DiffusersPrior):
    adapter = Adapter(pipeline, rank=2)
    weights = {id(p) for p in pipeline.network.parameters()}
    assert not weights & {id(p) for p in adapter.parameters()}
    assert all(key.endswith((".down", ".up")) for key in adapter.state_dict())
    attention = [m for m in pipeline.network.modules() if type(m).__name__ == "Attention"]
    assert len(adapter.state_dict()) == 2 * 4 * len(attention) > 0
    again = Adapter(pipeline, rank=2, seed=1)
    again.load_state_dict(adapter.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(adapter.parameters(), again.parameters(), strict=True))


def test_no_correction_is_left_behind_by_an_error(pipeline: DiffusersPrior):
    adapter = Adapter(pipeline, rank=2)
    before = [dict(layer._forward_hooks) for layer in pipeline.network.modules()]
    with pytest.raises(Exception, match="."):
        adapter.eps(torch.zeros(1, 99, 8, 8), torch.tensor([5]), pipeline.embed([""]))
    assert [dict(layer._forward_hooks) for layer in pipeline.network.modules()] == before


def test_what_cannot_be_adapted_is_said(pipeline: DiffusersPrior):
    with pytest.raises(UserError, match="rank 0"):
        Adapter(pipeline, rank=0)
    prior = Gaussian("epsilon")
    prior.network = nn.Linear(3, 3)
    with pytest.raises(UserError, match="no attention"):
        Adapter(prior)


def test_it_learns_in_float32_beside_a_prior_in_half_precision(open_folder: Path):
    pipeline = DiffusersPrior.load(open_folder, dtype=torch.bfloat16)
    adapter = Adapter(pipeline, rank=2, camera=True)
    told = replace(
        pipeline.embed(["a red apple"]).expand(4), extra={"camera": torch.eye(3, 4).expand(4, 3, 4)}
    )
    x, noise = (torch.randn(4, *pipeline.latent_shape, generator=generator(0, name)) for name in ("x", "n"))
    assert torch.equal(adapter.eps(x, T, told), pipeline.eps(x, T, told))
    adapter.loss(Sample(x, T, noise), told).backward()
    # The camera's first layer learns once its last one, zero at first, has moved; so do the LoRA's.
    learning = {name for name, p in adapter.named_parameters() if p.grad is not None and p.grad.any()}
    assert learning == {name for name in adapter.state_dict() if name.endswith((".up", "shift"))}
    assert all(p.dtype == torch.float32 for p in adapter.parameters())
