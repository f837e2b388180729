"""Networks as CUDA graphs: their hundreds of launches are recorded once and replayed as one.

A step of a distillation asks the same network for the same shapes again and again, and what it waits for on
a fast card is the host, which launches about a thousand small kernels a call. A graph fixes shapes and
addresses: inputs are copied into buffers of its own, answers are copied out.

Not run on a card yet. The tests replay by calling again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

WARM_UP = 3
"""Calls before recording: libraries allocate and choose their kernels at the first ones."""
MAX_RECORDINGS = 16
"""Number of recordings of one function; each keeps its buffers."""

GRAPHS_OFF = "--prior.graphs off (of ns-train: --pipeline.prior.graphs off) avoids the attempt"
"""Advice where there is no graph."""


def record(works: list[Callable[[], None]], device: torch.device, pool: Any) -> list[Callable[[], None]]:
    """Replays of the works, which are done in their order, in memory of the pool.

    Args:
        device: The device of all of them; another one may be current.
        pool: A handle of `torch.cuda.graph_pool_handle`.

    Raises:
        RuntimeError: One of them does what a graph cannot hold, such as waiting for the card.
    """
    replays = []
    with torch.cuda.device(device):
        before, stream = torch.cuda.current_stream(), torch.cuda.Stream()
        stream.wait_stream(before)
        # Left in any case: torch would stay on it after a capture that failed.
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                for work in works:
                    work()
            for work in works:
                graph = torch.cuda.CUDAGraph()
                # Other threads, such as a viewer's, may allocate meanwhile.
                with torch.cuda.graph(graph, pool, stream, capture_error_mode="thread_local"):
                    work()
                replays.append(graph.replay)
        before.wait_stream(stream)
    return replays


def new_pool() -> Any:
    """A handle of memory that graphs share."""
    return torch.cuda.graph_pool_handle()


class Recording:
    """A function of tensors, recorded for the shapes of one call; with its gradient where `leaves` want one.

    Args:
        function: Its answer is a tensor, or a tree of tensors where no gradient is wanted.
        leaves: Its arguments, flattened by `spec`.
        pool: Shared memory; None is memory of its own.
    """

    def __init__(self, function: Callable[..., Any], leaves: list[Any], spec: Any, pool: Any = None) -> None:
        self.turn = 0
        """Number of forward and backward calls; a backward call uses up the tensors of a forward call."""
        self._inputs = tree_map_only(Tensor, _buffer, leaves)
        self._wanted = [x for x in self._inputs if isinstance(x, Tensor) and x.requires_grad]
        self._answer: Any = None
        self._slope: Tensor | None = None
        self._slopes: tuple[Tensor, ...] = ()

        def forward() -> None:
            args, kwargs = tree_unflatten(self._inputs, spec)
            self._answer, self._slopes = None, ()  # nothing of the pass before, such as its graph, is kept
            with torch.set_grad_enabled(bool(self._wanted)):
                self._answer = function(*args, **kwargs)

        def backward() -> None:
            if self._slope is None:
                self._slope = torch.zeros_like(self._answer)
            self._slopes = torch.autograd.grad(self._answer, self._wanted, self._slope)

        device = next(x.device for x in leaves if isinstance(x, Tensor))
        works = [forward, backward] if self._wanted else [forward]
        self._forward, *self._backward = record(works, device, pool or new_pool())

    def answer(self, leaves: list[Any]) -> Any:
        """The function's answer to other values of the same shapes, without a graph of autograd."""
        with torch.no_grad():
            for buffer, value in zip(self._inputs, leaves, strict=True):
                if isinstance(buffer, Tensor):
                    buffer.copy_(value)
        self._forward()
        self.turn += 1
        return tree_map_only(Tensor, lambda x: x.detach().clone(), self._answer)

    def gradients(self, slope: Tensor) -> list[Tensor]:
        """The gradients of the last answer's inputs; `slope` is the answer's."""
        assert self._slope is not None
        self._slope.copy_(slope)
        self._backward[0]()
        self.turn += 1
        return [x.detach().clone() for x in self._slopes]


class Graphed:
    """A function by replays; shapes beyond MAX_RECORDINGS, and what cannot be recorded, are called as ever.

    Args:
        function: It must not depend on anything that changes between its calls but its arguments.
        name: Subject of the line that says why it could not be recorded.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.function, self.name = function, name
        self._recordings: dict[Any, Recording] = {}
        self._pool: Any = None
        """Memory shared without a gradient, where answers are copied out before the next replay."""
        self._failed = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves, spec = tree_flatten((args, kwargs))
        wanted = [x for x in leaves if isinstance(x, Tensor) and x.requires_grad and torch.is_grad_enabled()]
        recording = self._recording(leaves, spec, bool(wanted))
        if recording is None:
            return self.function(*args, **kwargs)
        return _Replay.apply(recording, leaves, *wanted) if wanted else recording.answer(leaves)

    def _recording(self, leaves: list[Any], spec: Any, wanted: bool) -> Recording | None:
        key = wanted, str(spec), tuple(map(_described, leaves))
        if key in self._recordings or self._failed or len(self._recordings) == MAX_RECORDINGS:
            return self._recordings.get(key)
        self._pool = self._pool or new_pool()
        try:
            with torch.set_grad_enabled(wanted):
                pool = None if wanted else self._pool
                self._recordings[key] = Recording(self.function, leaves, spec, pool)
        except RuntimeError as error:
            self._failed = True
            # What ended a capture hides behind the end of the capture itself.
            reason = str(error.__context__ or error).strip().partition("\n")[0]
            print(
                f"{self.name} cannot be recorded as a CUDA graph ({reason}), so it runs without; {GRAPHS_OFF}"
            )
        return self._recordings.get(key)


class _Replay(torch.autograd.Function):
    """A recorded call in a graph of autograd."""

    @staticmethod
    def forward(ctx: Any, recording: Recording, leaves: list[Any], *wanted: Tensor) -> Tensor:
        ctx.recording, ctx.leaves = recording, [x.detach() if isinstance(x, Tensor) else x for x in leaves]
        answer = recording.answer(leaves)
        ctx.turn = recording.turn
        return answer

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.turn != ctx.recording.turn:  # the buffers hold another call's values by now
            ctx.recording.answer(ctx.leaves)
        return None, None, *ctx.recording.gradients(slope)


def graph_network(network: nn.Module, name: str) -> None:
    """Let calls of the network be replays, in place, where torch keeps a compiled call: what passes that by,
    as an adapter's corrections do, passes the graph by."""
    holder: Any = network
    holder._compiled_call_impl = Graphed(holder._compiled_call_impl or holder._call_impl, name)


def _buffer(value: Tensor) -> Tensor:
    return value.detach().clone().requires_grad_(value.requires_grad and torch.is_grad_enabled())


def _described(leaf: Any) -> Any:
    return (leaf.shape, leaf.dtype, leaf.requires_grad) if isinstance(leaf, Tensor) else leaf
