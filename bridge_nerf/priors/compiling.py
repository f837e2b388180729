"""`torch.compile` for the denoiser, where it can work."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from bridge_nerf.errors import UserError


def compile_network(network: nn.Module, device: torch.device) -> None:
    """Compile it in place; the work is done at the first calls.

    Raises:
        UserError: There is no C++ compiler (for a CPU) or no Triton (for a GPU).
    """
    if device.type == "cpu":
        _check_for_cpp()
    elif device.type == "cuda":
        from torch.utils._triton import has_triton

        if not has_triton():
            raise UserError("compiling for a GPU needs Triton, which torch cannot find; leave compiling away")
    network.compile()


@contextmanager
def uncompiled(network: nn.Module) -> Iterator[None]:
    """While entered, calls of the network are its own: neither compiled nor the replay of a graph."""
    holder: Any = network
    compiled, holder._compiled_call_impl = holder._compiled_call_impl, None
    try:
        yield
    finally:
        holder._compiled_call_impl = compiled


def _check_for_cpp() -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise UserError(
            "compiling for a CPU needs a C++ compiler and there is none: install g++, name one in the "
            "environment variable CXX, or leave compiling away"
        ) from None
