"""Attention block by block against the formula in float64, and when it stands in for PyTorch's."""

from threading import Thread

import pytest
import torch
import torch.nn.functional as F

from bridge_nerf.distillation.sample import Sample
from bridge_nerf.priors import cpu
from bridge_nerf.priors.adapter import Adapter
from bridge_nerf.priors.cpu import BlockedAttention, blocked_attention
from bridge_nerf.priors.diffusers_prior import DiffusersPrior
from bridge_nerf.seeding import generator


def inputs(*heads: int, q: int = 70, k: int = 50, c: int = 16, d: int = 16) -> list[torch.Tensor]:
    draws = generator(0, "attention")
    sizes = {"query": (q, c), "key": (k, c), "value": (k, d)}
    return [torch.randn(*heads, *size, generator=draws).bfloat16() for size in sizes.values()]


def exact(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """The formula, in float64."""
    query, key, value = (x.double() for x in (query, key, value))
    weights = (scale * query @ key.mT).exp()
    return weights / weights.sum(-1, keepdim=True) @ value


@pytest.fixture
def calls(monkeypatch):
    """How often attention went block by block, with every head long enough for it."""
    counted, original = [], blocked_attention

    def count(*given):
        counted.append(1)
        return original(*given)

    monkeypatch.setattr(cpu, "BLOCK_LOGITS", 1)
    monkeypatch.setattr(cpu, "blocked_attention", count)
    return counted


@pytest.mark.parametrize("logits", [1, 50 * 16, 2**20], ids=["rows", "blocks", "whole"])
@pytest.mark.parametrize("heads", [(), (3,), (2, 3)])
@pytest.mark.parametrize("sizes", [{}, {"q": 33, "k": 7}, {"d": 5}])
def test_it_is_the_formula(monkeypatch, logits, heads, sizes):
    monkeypatch.setattr(cpu, "BLOCK_LOGITS", logits)
    given = inputs(*heads, **sizes)
    for scale in (None, 0.7):
        wanted = exact(*given, 0.25 if scale is None else scale)
        # Logits from 8 to 16 are rounded by up to 1/32, and the weights are off by as much of themselves.
        torch.testing.assert_close(blocked_attention(*given, scale).double(), wanted, rtol=0, atol=1 / 32)


@pytest.mark.parametrize("spread", [1, 4, 16])
def test_it_errs_about_as_rounding_the_inputs_does(spread):
    """Of which attention in bfloat16 has to live anyway; `spread` is the standard deviation of the logits."""
    draws = generator(0, "attention")
    query, key, value = (torch.randn(4, 512, 64, generator=draws) for _ in range(3))
    query = query * spread
    rounded = [x.bfloat16() for x in (query, key, value)]
    right, wanted = exact(query, key, value, 1 / 8), exact(*rounded, 1 / 8)

    def size(error: torch.Tensor) -> float:
        return error.square().mean().sqrt().item()

    assert size(blocked_attention(*rounded).double() - wanted) < 2.5 * size(wanted - right)


def test_heads_need_not_lie_side_by_side():
    given = inputs(2, 3)
    apart = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in given]
    assert not apart[0].is_contiguous()
    assert torch.equal(blocked_attention(*apart), blocked_attention(*given))


def test_it_stands_in_while_it_is_entered(calls):
    given = inputs(2, 3)
    with BlockedAttention():
        answer = F.scaled_dot_product_attention(*given)
        named = F.scaled_dot_product_attention(**dict(zip(("query", "key", "value"), given, strict=True)))
    assert len(calls) == 2 and torch.equal(answer, named)
    torch.testing.assert_close(answer, F.scaled_dot_product_attention(*given), rtol=0.02, atol=0.02)
    assert len(calls) == 2


@pytest.mark.parametrize(
    "more",
    [{"attn_mask": torch.ones(70, 50, dtype=torch.bool).tril()}, {"is_causal": True}, {"enable_gqa": True}],
    ids=str,
)
def test_what_it_does_not_know_is_left_to_pytorch(calls, more):
    given = inputs(2, 3)
    with BlockedAttention():
        answer = F.scaled_dot_product_attention(*given, **more)
    assert not calls and torch.equal(answer, F.scaled_dot_product_attention(*given, **more))


def test_heads_that_are_shared_are_left_to_pytorch(calls):
    query, key, value = inputs(2, 3)
    with BlockedAttention():
        answer = F.scaled_dot_product_attention(query, key[:1], value[:1])
    assert not calls and answer.shape == (2, 3, 70, 16)


def test_other_precisions_and_short_heads_are_left_to_pytorch(calls, monkeypatch):
    given = inputs(2, 3)
    with BlockedAttention():
        F.scaled_dot_product_attention(*(x.float() for x in given))
        monkeypatch.setattr(cpu, "BLOCK_LOGITS", 70 * 50 + 1)
        F.scaled_dot_product_attention(*given)
        assert not calls
        monkeypatch.setattr(cpu, "BLOCK_LOGITS", 70 * 50)
        F.scaled_dot_product_attention(*given)
    assert len(calls) == 1


def test_gradients_pass_through_pytorchs(calls):
    query, key, value = inputs(2, 3)
    query.requires_grad_()
    with BlockedAttention():
        F.scaled_dot_product_attention(query, key, value).sum().backward()
        assert not calls and query.grad is not None and query.grad.abs().sum() > 0
        with torch.no_grad():
            F.scaled_dot_product_attention(query, key, value)
    assert len(calls) == 1


def test_an_adapter_learns_through_pytorchs_and_answers_through_the_blocks(calls, open_folder):
    prior = DiffusersPrior.load(open_folder, dtype=torch.bfloat16)
    prior.attention = BlockedAttention
    adapter = Adapter(prior, rank=2)
    x, t = torch.randn(1, *prior.latent_shape, generator=generator(0, "x")), torch.tensor([500])
    told = prior.embed(["an apple"])
    adapter.loss(Sample(x, t, x.flip(-1)), told).backward()
    assert not calls
    ups = [p for name, p in adapter.named_parameters() if name.endswith("up")]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in ups)
    with torch.no_grad():
        before = adapter.eps(x, t, told)
        for up in ups:
            up.add_(0.1)
        assert not torch.allclose(adapter.eps(x, t, told), before, atol=0.02)
    assert calls


def test_other_threads_see_nothing_of_it(calls):
    with BlockedAttention():
        other = Thread(target=lambda: F.scaled_dot_product_attention(*inputs(2)))
        other.start()
        other.join()
    assert not calls
