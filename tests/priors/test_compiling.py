"""A compiled network answers the same, and VSD's adapter is not passed by."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch

from bridge_nerf.errors import UserError
from bridge_nerf.priors.adapter import Adapter
from bridge_nerf.priors.cpu import BlockedAttention
from bridge_nerf.priors.registry import load_prior
from bridge_nerf.seeding import generator


def asked(prior, owner=None):
    """What the prior, or an adapter of it, answers to a fixed question."""
    x = torch.randn(2, *prior.latent_shape, generator=generator(0, "x"))
    told = prior.embed(["a pineapple", "a red apple"])
    with torch.no_grad():
        return (owner or prior).eps(x, torch.tensor([100, 700]), told)


def with_corrections(prior) -> Adapter:
    adapter = Adapter(prior, rank=2)
    for name, parameter in adapter.named_parameters():
        if name.endswith("up"):
            parameter.data.fill_(0.05)
    return adapter


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_network_answers_the_same(closed_folder, monkeypatch, backend):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    plain, compiled = (load_prior(str(closed_folder), "cpu", compiling=c) for c in (False, True))
    assert compiled.components.denoiser._compiled_call_impl is not None
    torch.testing.assert_close(asked(compiled), asked(plain), atol=1e-4, rtol=1e-4)
    corrected = asked(compiled, with_corrections(compiled))
    torch.testing.assert_close(corrected, asked(plain, with_corrections(plain)), atol=1e-4, rtol=1e-4)
    assert (corrected - asked(compiled)).abs().max() > 1e-3
    torch.testing.assert_close(asked(compiled), asked(plain), atol=1e-4, rtol=1e-4)


def test_no_compiler_is_one_line(closed_folder):
    from torch._inductor import config

    with config.patch({"cpp.cxx": ("no-such-compiler",)}), pytest.raises(UserError, match="install g"):
        load_prior(str(closed_folder), "cpu", compiling=True)


def test_a_compiled_network_keeps_pytorchs_attention(closed_folder, monkeypatch):
    can = {"avx512_bf16": True}
    monkeypatch.setattr("bridge_nerf.priors.cpu.capabilities", lambda: can)
    plain, compiled = (
        load_prior(str(closed_folder), "cpu", torch.bfloat16, compiling=c) for c in (False, True)
    )
    assert (plain.attention, compiled.attention) == (BlockedAttention, nullcontext)
