"""What Python sees of tensors on the card: their device, moves, and what main memory alone can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from tests.card.memory import (
    CARD,
    HOST,
    DeviceMismatch,
    Ledger,
    asynchronous,
    on_card,
    place,
    put,
    tensors_in,
)

LITERALS = (torch.tensor, torch.as_tensor, torch.asarray, torch.scalar_tensor)
"""Make a tensor of numbers that the host holds: for the card, a copy."""


class Crossing(torch.autograd.Function):
    """A copy into the other memory; its gradient takes the way back."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, ledger: Ledger, to_card: bool, non_blocking: bool) -> Tensor:
        ctx.ledger, ctx.to_card, ctx.non_blocking = ledger, to_card, non_blocking
        return crossed(ledger, source, to_card, non_blocking)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        return crossed(ctx.ledger, gradient, not ctx.to_card, ctx.non_blocking), None, None, None


def crossed(ledger: Ledger, source: Tensor, to_card: bool, non_blocking: bool) -> Tensor:
    """A copy of the tensor in the other memory."""
    operation = "copy to the card" if to_card else "copy from the card"
    ledger.crossing(to_card, operation, asynchronous(source, to_card, non_blocking))
    with torch._C._DisableTorchDispatch():  # no kernel of the card's
        copy = source.detach().clone()
    return put(copy, to_card)


class Functions(TorchFunctionMode):
    """See above.

    Raises:
        DeviceMismatch: A generator or a gradient is not on the tensor's device.
        TypeError: NumPy is asked to read the card's memory.
    """

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.untyped_storage:
            return func(*args, **kwargs)
        if (answer := ANSWERS.get(func)) is not None:
            return answer(self, *args, **kwargs)
        given = tensors_in((args, kwargs))
        card = any(map(on_card, given))
        asked = kwargs.get("device")
        if asked is None and func is Tensor.new_tensor:
            asked = CARD if on_card(args[0]) else None
        if asked is not None:
            return self._made(func, args, kwargs, torch.device(asked))
        self._check_generator(func, kwargs, card)
        with self.ledger.makes(card and func not in (Tensor.__getitem__, Tensor.__setitem__)):
            return func(*args, **kwargs)

    def _made(self, func: Any, args: Any, kwargs: Any, device: torch.device) -> Any:
        """A new tensor on the device that was asked for."""
        card = device.type == "cuda"
        self._check_generator(func, kwargs, card)
        if func in LITERALS and isinstance(args[0], Tensor):
            return self.move(args[0], card, kwargs.get("dtype"))
        if card:
            kwargs["device"] = HOST
            if func in (*LITERALS, Tensor.new_tensor):
                self.ledger.crossing(True, f"torch.{func.__name__}", asynchronous=False)
        with self.ledger.makes(card):
            return put(func(*args, **kwargs), card)

    def _check_generator(self, func: Any, kwargs: Any, card: bool) -> None:
        generator = kwargs.get("generator")
        if isinstance(generator, torch._C.Generator) and (generator.device.type == "cuda") != card:
            raise DeviceMismatch(
                f"{place(func.__name__)}: a generator on {generator.device} for {CARD if card else HOST}"
            )

    def move(
        self,
        tensor: Tensor,
        card: bool,
        dtype: torch.dtype | None = None,
        non_blocking: bool = False,
        **rest: Any,
    ) -> Tensor:
        """The tensor in the memory and of the type that are asked for; itself where it is so already."""
        if on_card(tensor) == card:
            return tensor.to(dtype or tensor.dtype, **rest)
        rest.pop("copy", None)
        return Crossing.apply(tensor, self.ledger, card, non_blocking).to(dtype or tensor.dtype, **rest)


def _to(mode: Functions, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`Tensor.to` in all of its forms."""
    named = ("device", "dtype", "non_blocking", "copy")
    if (args and isinstance(args[0], Tensor)) or "other" in kwargs:
        other, *more = args or (kwargs.pop("other"),)
        return _to(mode, tensor, other.device if not on_card(other) else CARD, other.dtype, *more, **kwargs)
    if args and isinstance(args[0], torch.dtype):
        named = named[1:]
    asked = dict(zip(named, args, strict=False)) | kwargs
    device, dtype = asked.pop("device", None), asked.pop("dtype", None)
    card = on_card(tensor) if device is None else torch.device(device).type == "cuda"
    return mode.move(tensor, card, dtype, **asked)


def _numpy(mode: Functions, tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
    if on_card(tensor):
        raise TypeError(
            f"{place('numpy')}: can't convert cuda:0 device type tensor to numpy. "
            "Use Tensor.cpu() to copy the tensor to host memory first."
        )
    return Tensor.numpy(tensor, *args, **kwargs)


def _array(mode: Functions, tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
    _numpy(mode, tensor.detach())
    return Tensor.__array__(tensor, *args, **kwargs)


def _tolist(mode: Functions, tensor: Tensor) -> Any:
    if on_card(tensor):
        mode.ledger.wait("tolist")
    return Tensor.tolist(tensor)


def _pin_memory(mode: Functions, tensor: Tensor, *args: Any) -> Tensor:
    """Without a card there is no pinned memory: a copy that says it is."""
    if on_card(tensor):
        raise RuntimeError("cannot pin 'torch.cuda.FloatTensor': only dense CPU tensors can be pinned")
    pinned = tensor.clone()
    pinned.untyped_storage().pinned = True  # type: ignore[attr-defined]
    return pinned


def _deepcopy(mode: Functions, tensor: Tensor, memo: dict) -> Any:
    """Storages are copied where no mode looks."""
    return put(Tensor.__deepcopy__(tensor, memo), on_card(tensor))


def _assign_gradient(mode: Functions, tensor: Tensor, gradient: Tensor | None) -> None:
    if gradient is not None and on_card(gradient) != on_card(tensor):
        raise DeviceMismatch(f"{place('grad')}: the assigned gradient lies on another device")
    Tensor.grad.__set__(tensor, gradient)  # type: ignore[attr-defined]


ANSWERS: dict[Any, Callable[..., Any]] = {
    Tensor.device.__get__: lambda m, t: CARD if on_card(t) else Tensor.device.__get__(t),  # type: ignore[attr-defined]
    Tensor.is_cuda.__get__: lambda m, t: on_card(t),  # type: ignore[attr-defined]
    Tensor.is_cpu.__get__: lambda m, t: not on_card(t),  # type: ignore[attr-defined]
    Tensor.get_device: lambda m, t: 0 if on_card(t) else -1,
    Tensor.to: _to,
    Tensor.cuda: lambda m, t, device=None, non_blocking=False, **_: m.move(t, True, None, non_blocking),
    Tensor.cpu: lambda m, t, **_: m.move(t, False),
    Tensor.type_as: lambda m, t, other: m.move(t, on_card(other), other.dtype),
    Tensor.numpy: _numpy,
    Tensor.__array__: _array,
    Tensor.tolist: _tolist,
    Tensor.pin_memory: _pin_memory,
    Tensor.is_pinned: lambda m, t, *_: getattr(t.untyped_storage(), "pinned", False),
    Tensor.record_stream: lambda m, t, stream: None,
    Tensor.__deepcopy__: _deepcopy,
    Tensor.grad.__set__: _assign_gradient,  # type: ignore[attr-defined]
}
"""What is answered here, by function: (mode, tensor, ...) -> answer."""
