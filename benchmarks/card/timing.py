"""Times and peaks on a device."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.card.items import Options


def wait(options: Options) -> None:
    """Until the card has done what it was told."""
    if options.cuda:
        torch.cuda.synchronize()


def milliseconds(act: Callable[[], Any], options: Options, rounds: int = 20, warm: int = 5) -> float:
    """The median over `rounds` calls, after some to warm up: graphs are recorded, kernels chosen."""
    rounds, warm = (2, 1) if options.small else (rounds, warm)
    for _ in range(warm):
        act()
    wait(options)
    spent = []
    for _ in range(rounds):
        begun = time.perf_counter()
        act()
        wait(options)
        spent.append(1e3 * (time.perf_counter() - begun))
    return round(statistics.median(spent), 3)


def peak(act: Callable[[], Any], options: Options) -> float | None:
    """GiB that torch holds at the peak of a call, with what was there before and what CUDA graphs keep; None
    where nobody counts."""
    if not options.cuda:
        act()
        return None
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    act()
    wait(options)
    return round(torch.cuda.max_memory_reserved() / 2**30, 2)


def launches(act: Callable[[], Any], options: Options) -> dict[str, Any]:
    """Kernels of one call, their milliseconds, and how often the host launched, waited and copied."""
    if not options.cuda:
        return {}
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        act()
        wait(options)
    events: Any = profiler.events()
    kernels = [event for event in events if str(event.device_type).endswith("CUDA")]
    calls = {
        "launches": ("cudaLaunchKernel", "cuLaunchKernel"),
        "graph launches": ("cudaGraphLaunch",),
        "waits": ("cudaStreamSynchronize", "cudaDeviceSynchronize"),
        "copies": ("cudaMemcpyAsync",),
    }
    counted = {name: sum(event.name.startswith(begin) for event in events) for name, begin in calls.items()}
    spent = sum(event.self_device_time_total for event in kernels) / 1e3
    return {"kernels": len(kernels), "kernels, ms": round(spent, 2), **counted}
