"""Many visitors at once: does every request come to an end, and does the app's memory stay where it is?

    python benchmarks/visitors.py                                 # 20 visitors for 3 minutes
    python benchmarks/visitors.py --visitors 5 --seconds 20

Serves `app.py` on loopback and lets each visitor, a client of its own, do what people do: ask for a short
image, play with the plane, ask for what is refused, or give up in the middle of a long image. Prints what
became of the requests, the app's memory, and how long a stranger waits after all that.
"""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from bridge_nerf.extras import required

with required("visitors.py"):
    import psutil
    import tyro
    from gradio_client import Client
    from gradio_client.client import QueueError
    from gradio_client.exceptions import AppError

ROOT = Path(__file__).parents[1]
REQUEST_TIMEOUT_S = 600.0
"""Maximum time of a request; one that takes longer counts as lost."""
IMAGE = {
    "objective": "sds",
    "randomise": True,
    "seed": 0,
    "guidance": 5,
    "target_descriptors": "sharp",
    "api_name": "/text_to_image",
}
SHORT, LONG = 20, 1000
"""Steps of a run."""


@dataclass
class Tally:
    """Outcomes of requests, times and memory."""

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    """Time of each request that was answered."""
    memory: list[tuple[float, float]] = field(default_factory=list)
    """(seconds since the start, MiB of the app and what it started)."""


def visitor(url: str, number: int, until: float, tally: Tally) -> None:
    """Send one request after the other until the time is over."""
    draw, client = random.Random(number), None
    while time.monotonic() < until:
        kind = draw.choices(["short", "plane", "refused", "cancelled"], [4, 3, 2, 2])[0]
        begun = time.monotonic()
        try:
            # Often enough a visitor leaves and comes back as another one.
            if client is None or draw.random() < 0.2:
                client = Client(url, verbose=False, download_files=False)
            outcome = _request(client, kind, draw)
        except AppError as error:
            outcome = f"refused ({str(error).split(';')[0][:40]})"
        except QueueError:
            outcome = "refused (the line is full)"
        except Exception as error:  # of whatever kind, it is what the measurement is about
            outcome = f"LOST ({type(error).__name__}: {error})"
        tally.outcomes[f"{kind}: {outcome}"] += 1
        if outcome == "answered":
            tally.seconds.append(time.monotonic() - begun)
        time.sleep(draw.uniform(0, 1))


def _request(client: Client, kind: str, draw: random.Random) -> str:
    """Outcome of a request in words; raises where it was refused or lost."""
    if kind == "plane":
        inputs = {"noise_level": draw.uniform(0.1, 0.9), "api_name": "/how_it_works"}
    else:
        prompt = "a zeppelin" if kind == "refused" else draw.choice(["a duck", "a red apple", "a house"])
        inputs = IMAGE | {"prompt": prompt, "steps": LONG if kind == "cancelled" else SHORT}
    job = client.submit(**inputs)
    if kind == "cancelled":
        _wait_for_a_frame(job)
        job.cancel()
        return "given up"
    job.result(timeout=REQUEST_TIMEOUT_S)
    return "answered"


def _wait_for_a_frame(job) -> None:
    end = time.monotonic() + REQUEST_TIMEOUT_S
    while not job.outputs() and not job.done() and time.monotonic() < end:
        time.sleep(0.05)
    if job.done():
        job.result()
    if not job.outputs():
        raise TimeoutError(f"no image in {REQUEST_TIMEOUT_S} s")


def watch(process: psutil.Process, begun: float, until: float, tally: Tally) -> None:
    """Note the memory every second."""
    while time.monotonic() < until:
        family = [process, *process.children(recursive=True)]
        memory = sum(p.memory_info().rss for p in family if p.is_running()) / 2**20
        tally.memory.append((time.monotonic() - begun, memory))
        time.sleep(1)


def stranger(url: str) -> float:
    """Seconds until somebody who comes after all of them has an image."""
    begun = time.monotonic()
    client = Client(url, verbose=False, download_files=False)
    client.submit(**IMAGE, prompt="a mushroom", steps=SHORT).result(timeout=REQUEST_TIMEOUT_S)
    return time.monotonic() - begun


def serve(log: Path) -> tuple[subprocess.Popen, str, float]:
    """(the app, its address, seconds until its page answered)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begun, url = time.monotonic(), f"http://127.0.0.1:{port}/"
    with log.open("w") as out:
        command = [sys.executable, str(ROOT / "app.py"), "--port", str(port)]
        app = subprocess.Popen(command, cwd=log.parent, stdout=out, stderr=out)
    while app.poll() is None:
        try:
            with urllib.request.urlopen(url):
                return app, url, time.monotonic() - begun
        except urllib.error.URLError:
            time.sleep(0.1)
    raise SystemExit(log.read_text())


def crowd(url: str, pid: int, visitors: int, seconds: float) -> Tally:
    """All visitors at once."""
    tally, begun = Tally(), time.monotonic()
    until = begun + seconds
    threads = [threading.Thread(target=visitor, args=(url, k, until, tally)) for k in range(visitors)]
    threads.append(threading.Thread(target=watch, args=(psutil.Process(pid), begun, until, tally)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally


def main(visitors: int = 20, seconds: float = 180.0) -> None:
    """Serve, let them in, and print.

    Args:
        visitors: How many at once.
        seconds: How long new requests are made.
    """
    with tempfile.TemporaryDirectory() as folder:
        app, url, start = serve(Path(folder) / "log")
        try:
            first = stranger(url)
            tally = crowd(url, app.pid, visitors, seconds)
            after = stranger(url)
        finally:
            app.terminate()
            app.wait(30)
        complaints = [line for line in (Path(folder) / "log").read_text().splitlines() if "Traceback" in line]
    print(f"the page answered after {start:.1f} s, the first image came {first:.1f} s later")
    for outcome, count in sorted(tally.outcomes.items()):
        print(f"{count:6d}  {outcome}")
    if tally.seconds:
        slowest = sorted(tally.seconds)
        print(f"answered after {slowest[len(slowest) // 2]:.1f} s (median), {slowest[-1]:.1f} s (slowest)")
    every = max(1, len(tally.memory) // 12)
    print("MiB over time:", *(f"{memory:.0f}" for _, memory in tally.memory[::every]))
    third = [memory for when, memory in tally.memory if when > seconds / 3]
    half = len(third) // 2
    if half:
        early, late = sum(third[:half]) / half, sum(third[half:]) / len(third[half:])
        print(f"memory after the first third: {early:.0f}, then {late:.0f} MiB: ratio {late / early:.3f}")
    print(f"a stranger had an image {after:.1f} s after all that; tracebacks in the log: {len(complaints)}")


if __name__ == "__main__":
    tyro.cli(main)
