"""Items and what they leave behind: figures, or the reason why there are none."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from bridge_nerf.files import write_atomic

ROOT = Path(__file__).parents[2]
LEAST = 5.0
"""Seconds that must be left for an item to begin."""


class NotHere(Exception):
    """An item that makes no sense on this device; its text says why."""


@dataclass(frozen=True)
class Options:
    """How a part is run."""

    out: Path
    """Folder of the figures."""
    device: str = "cuda"
    small: bool = False
    """Tiny shapes and few steps: a rehearsal, whose figures mean nothing."""
    limit: float = 570.0
    """Seconds of a part."""
    isolated: bool = True
    """Each item in a process of its own."""

    @property
    def cuda(self) -> bool:
        """Whether the device is a card."""
        return self.device.startswith("cuda")


Item = Callable[[Options], Mapping[str, Any]]
"""Answers figures: numbers, or words, by name."""


def machine(options: Options) -> dict[str, Any]:
    """What the figures belong to."""
    import torch

    commit = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(commit, capture_output=True, text=True, check=False)
    card = torch.cuda.get_device_name() if options.cuda else f"{options.device} ({platform.machine()})"
    return {
        "card": card,
        "memory, GiB": round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1)
        if options.cuda
        else None,
        "CUDA": torch.version.cuda if options.cuda else None,
        "torch": torch.__version__,
        "Python": platform.python_version(),
        "cores": os.cpu_count(),
        "date": date.today().isoformat(),
        "commit": done.stdout.strip() or "unknown",
        "small": options.small,
    }


class Results:
    """What a part has found, in a file that is whole at every moment."""

    def __init__(self, part: str, options: Options) -> None:
        self.path = options.out / f"{part}.json"
        self.content: dict[str, Any] = {"machine": machine(options), "items": {}}
        self._write()

    def add(self, item: str, found: Mapping[str, Any]) -> None:
        """Note an item: {"figures": ...}, {"failed": why} or {"not here": why}, with its seconds."""
        self.content["items"][item] = dict(found)
        self._write()
        print(f"{item}: {json.dumps(found)}", flush=True)

    def _write(self) -> None:
        write_atomic(self.path, json.dumps(self.content, indent=1).encode())


def attempt(item: Item, options: Options) -> dict[str, Any]:
    """What an item finds, in this process."""
    begun = time.perf_counter()
    try:
        found: dict[str, Any] = {"figures": dict(item(options))}
    except NotHere as reason:
        found = {"not here": str(reason)}
    except Exception as error:  # of whatever kind: the other items are to be measured too
        import traceback

        traceback.print_exc()
        found = {"failed": f"{type(error).__name__}: {error}"[:400]}
    return found | {"seconds": round(time.perf_counter() - begun, 1)}


def run(part: str, items: Mapping[str, Item], options: Options) -> Results:
    """All items of a part, until its time is over; the rest is noted as failed for want of it."""
    results, end = Results(part, options), time.monotonic() + options.limit
    for name, item in items.items():
        left = end - time.monotonic()
        if left < LEAST:
            results.add(name, {"failed": f"not begun: the {options.limit:.0f} s of this part were over"})
        elif options.isolated:
            results.add(name, _apart(part, name, options, left))
        else:
            results.add(name, attempt(item, options))
    return results


def _apart(part: str, name: str, options: Options, seconds: float) -> dict[str, Any]:
    """What an item finds in a process of its own, which ends with all its children when its time is over."""
    answer = options.out / f"{part}.item.json"
    answer.unlink(missing_ok=True)
    inner = asdict(replace(options, isolated=False)) | {"out": str(options.out)}
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.card.one", part, name, json.dumps(inner)]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return {"failed": f"took longer than the {seconds:.0f} s that were left"}
    if not answer.exists():
        return {"failed": f"its process ended with code {code}"}
    found = json.loads(answer.read_text())
    answer.unlink()
    return found
