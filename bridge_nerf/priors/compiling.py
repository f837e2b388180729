"""`torch.compile` for the network that answers, where it can work."""

import torch
from torch import nn

from bridge_nerf.errors import UserError


def compile_network(network: nn.Module, device: torch.device) -> None:
    """Compile it in place; the work is done at the first calls.

    Raises:
        UserError: What compiling needs is missing: a C++ compiler for a CPU, Triton for a GPU.
    """
    if device.type == "cpu":
        _check_for_cpp()
    elif device.type == "cuda":
        from torch.utils._triton import has_triton

        if not has_triton():
            raise UserError("compiling for a GPU needs Triton, which torch cannot find; leave compiling away")
    network.compile()


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
