"""Networks compute in the precision that they were loaded in, and gradients survive float16."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

MAX_GRADIENT = 2.0**4
"""Size, roughly, of the largest entry of a gradient that goes back into a network in float16: 2^12 below what
float16 holds, 2^18 above what it rounds as subnormal. From 1 to 2^15 no factor was better than another."""


@contextmanager
def own_precision() -> Iterator[None]:
    """Context, or decorator, without autocast, which would take to float16 what overflows there.

    Gradients follow, for autograd goes back in the precision in which it came.
    """
    with ExitStack() as stack:
        for kind in filter(torch.is_autocast_enabled, ("cpu", "cuda", "mps")):
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


class ScaledBackward:
    """Loss scaling (Micikevicius et al. 2018, section 3.2) of one network alone, in one call of it.

    A gradient of a mean over an image is so small that float16 loses much of it. So what comes back to
    `leaving` goes on times a power of two that brings its largest entry near MAX_GRADIENT, and what has come
    through the network to `entering` is divided by the same. Values are untouched; a gradient that is not
    finite stays so, which is what a GradScaler waits for.

    Args:
        dtype: Precision of the network; nothing is done but for float16.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self._acts = dtype == torch.float16
        self._factor: Tensor

    def entering(self, value: Float[Tensor, "*dims"]) -> Float[Tensor, "*dims"]:
        """A value that enters the network in float32: weights, noisy latents, conditions."""
        return self._hooked(value, lambda gradient: gradient / self._factor)

    def leaving(self, answer: Float[Tensor, "*dims"]) -> Float[Tensor, "*dims"]:
        """The network's answer in float32, as it leaves."""

        def scaled(gradient: Tensor) -> Tensor:
            # On the device: a number that the host has to see would be waited for.
            _, exponent = torch.frexp(gradient.abs().amax())
            # Float32 holds no power beyond 2^127.
            power = (-exponent).clamp(max=120)
            self._factor = torch.ldexp(torch.full_like(exponent, MAX_GRADIENT, dtype=gradient.dtype), power)
            return gradient * self._factor

        return self._hooked(answer, scaled)

    def _hooked(self, value: Tensor, hook: Callable[[Tensor], Tensor]) -> Tensor:
        if not (self._acts and value.requires_grad):
            return value
        same = value.view_as(value)
        same.register_hook(hook)
        return same
