"""What `torch.cuda` answers while the card is pretended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch

from tests.card.memory import Ledger

MEMORY = 80 * 2**30
PROPERTIES = SimpleNamespace(
    name="Pretended", major=9, minor=0, total_memory=MEMORY, multi_processor_count=132, is_integrated=False
)


class Generator(torch.Generator):
    """A generator that says which device it is for; it draws on the CPU in any case."""

    def __new__(cls, device: torch.device | str = "cpu") -> Generator:
        made = super().__new__(cls, "cpu")
        made.where = torch.device(device)
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.where


def runtime(ledger: Ledger) -> dict[tuple[Any, str], Any]:
    """(module, name) -> what stands there while the card is pretended."""

    class Stream:
        """Everything is done at once, so that nothing is ever behind."""

        def __init__(self, *_: Any, **__: Any) -> None:
            self.device, self.cuda_stream, self.stream_id = torch.device("cuda", 0), 0, 0

        def synchronize(self) -> None:
            ledger.wait("synchronize")

        def query(self) -> bool:
            return True

        def wait_stream(self, stream: Any) -> None:
            """Nothing."""

        wait_event = wait_stream

        def record_event(self, event: Any = None) -> Any:
            return event or Event()

        def __enter__(self) -> Stream:
            return self

        def __exit__(self, *_: Any) -> None:
            """Nothing."""

    class Event:
        """A moment that is past."""

        def __init__(self, *_: Any, **__: Any) -> None: ...

        def record(self, stream: Any = None) -> None: ...

        wait = record

        def query(self) -> bool:
            return True

        def synchronize(self) -> None:
            ledger.wait("synchronize")

        def elapsed_time(self, other: Any) -> float:
            return 0.0

    class CUDAGraph:
        """There are none."""

        def __init__(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("the pretended card records no graphs")

    stream = Stream()
    cuda, answers = torch.cuda, dict[tuple[Any, str], Any]()

    def answer(**named: Callable[..., Any] | type) -> None:
        answers.update({(cuda, name): value for name, value in named.items()})

    answer(
        is_available=lambda: True,
        is_initialized=lambda: True,
        is_bf16_supported=lambda *_, **__: True,
        is_current_stream_capturing=lambda: False,
        device_count=lambda: 1,
        current_device=lambda: 0,
        set_device=lambda *_: None,
        get_device_name=lambda *_: PROPERTIES.name,
        get_device_capability=lambda *_: (PROPERTIES.major, PROPERTIES.minor),
        get_device_properties=lambda *_: PROPERTIES,
        mem_get_info=lambda *_: (MEMORY, MEMORY),
        memory_allocated=lambda *_: 0,
        memory_reserved=lambda *_: 0,
        max_memory_allocated=lambda *_: 0,
        max_memory_reserved=lambda *_: 0,
        memory_stats=lambda *_: {},
        reset_peak_memory_stats=lambda *_: None,
        empty_cache=lambda: None,
        synchronize=lambda *_: ledger.wait("synchronize"),
        manual_seed=lambda *_: None,
        manual_seed_all=lambda *_: None,
        get_rng_state=lambda *_: torch.get_rng_state(),
        get_rng_state_all=lambda: [torch.get_rng_state()],
        set_rng_state=lambda *_, **__: None,
        set_rng_state_all=lambda *_: None,
        current_stream=lambda *_: stream,
        default_stream=lambda *_: stream,
        stream=_stream,
        graph_pool_handle=lambda: (0, 0),
        Stream=Stream,
        Event=Event,
        CUDAGraph=CUDAGraph,
    )
    return answers | {
        (torch, "Generator"): Generator,
        (torch.autocast, "__init__"): _autocast(torch.autocast.__init__),
        (torch._C, "_cuda_clearCublasWorkspaces"): lambda: None,
    }


@contextmanager
def _stream(stream: Any) -> Iterator[None]:
    yield


def _autocast(init: Callable[..., None]) -> Callable[..., None]:
    """The CPU's autocast in the place of the card's: other operations, the same types."""

    def __init__(self: Any, device_type: str, dtype: Any = None, enabled: bool = True, **more: Any) -> None:
        if device_type == "cuda":
            device_type, dtype = "cpu", dtype or torch.get_autocast_dtype("cuda")
        init(self, device_type, dtype, enabled, **more)

    return __init__
