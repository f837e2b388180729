"""The prompt farm: one optimisation a prompt, by any number of workers, none done twice and none lost.

A worker claims an item with a lock on a file, which the kernel gives back when the worker dies, and moves the
finished item to its place in one operation. Seeds depend on prompt and base seed alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.errors import UserError
from bridge_nerf.files import read_text, write_atomic
from bridge_nerf.images.folder import folder_of, provenance
from bridge_nerf.images.module import ImageModule, stream
from bridge_nerf.images.run import interruptible
from bridge_nerf.images.spec import Spec, Subject
from bridge_nerf.photometry import saturation
from bridge_nerf.pixels import png, to_bytes


def read_prompts(path: Path) -> list[str]:
    """The prompts in a text file, one a line, each once; blank lines and lines from # on do not count.

    Raises:
        UserError: There is no such file, it is not text, or it holds no prompt.
    """
    if not path.exists():
        raise UserError(f"there is no file {path}; give a text with a prompt a line")
    prompts = [line.split("#")[0].strip() for line in read_text(path).splitlines()]
    if not any(prompts):
        raise UserError(f"{path} holds no prompt; write one a line")
    return list(dict.fromkeys(prompt for prompt in prompts if prompt))


def seed_for(prompt: str, base: int) -> int:
    """A seed that depends on prompt and base seed, and on nothing else."""
    return int.from_bytes(hashlib.sha256(f"{base} {prompt}".encode()).digest()[:4], "big")


@dataclass(frozen=True)
class Item:
    """One prompt's optimisation and where its result goes."""

    spec: Spec
    folder: Path

    @property
    def prompt(self) -> str:
        """The prompt."""
        return self.spec.subjects[0].prompts[0]

    @property
    def finished(self) -> bool:
        """The result is there, and whole."""
        return self.folder.exists()


def items_for(prompts: list[str], pattern: Spec, base_seed: int, out: Path) -> list[Item]:
    """An item for each prompt; all else is as in `pattern`."""
    specs = [
        replace(pattern, subjects=(Subject((prompt,), seed_for(prompt, base_seed)),)) for prompt in prompts
    ]
    return [Item(spec, folder_of(spec, out / "items")) for spec in specs]


@contextmanager
def claim(item: Item, give_up: threading.Event | None = None) -> Iterator[bool]:
    """Whether the item is ours until the block ends; waits for whoever has it until the event is set, or
    answers at once where there is none.
    """
    path = item.folder.parent.parent / "claims" / item.folder.name
    path.parent.mkdir(parents=True, exist_ok=True)
    # A disk without the kernel's locks is an error: the soft lock instead would outlive its worker.
    lock = FileLock(path, fallback_to_soft=False)
    try:
        with suppress(Timeout):
            lock.acquire(blocking=give_up is not None, cancel_check=give_up.is_set if give_up else None)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"{path.parent} lies on a disk without the kernel's locks ({reason}); choose another --out"
        ) from None
    try:
        yield lock.is_locked
    finally:
        lock.release()


def make(item: Item, module: ImageModule) -> Iterator[None]:
    """Optimise an item step by step, and put the result into its place."""
    begin = time.perf_counter()
    for _ in stream(module):
        yield
    image = module.images()
    note = provenance(item.spec, item.spec.recipe.steps)
    subject = item.spec.subjects[0]
    facts = {
        "prompt": item.prompt,
        "seed": subject.seed,
        "folder": item.folder.name,
        "saturation": saturation(image).mean().item(),
        "seconds": round(time.perf_counter() - begin, 2),
    }
    unfinished = item.folder.with_name(f".{item.folder.name}.{os.getpid()}")
    data = png(to_bytes(image)[0], note | {"prompt": item.prompt, "seed": subject.seed, "index": 0})
    write_atomic(unfinished / "picture.png", data)
    write_atomic(unfinished / "item.json", json.dumps(facts).encode())
    os.replace(unfinished, item.folder)


def run_batch(items: list[Item], prior: ImagePrior) -> list[str]:
    """Make all items that are not there yet; answers the folders of those made by this process.

    Started several times, on one machine or on several that share the folder, the workers divide the items
    among them, by their claims alone: they need not know of each other, and it does not matter who started
    them. What a killed worker had claimed is made by one of the others.

    Raises:
        UserError: A prompt cannot be read; it was interrupted, and the same command goes on; or some items
            could not be made, which is said once all others are.
    """
    prior.check_prompts([item.prompt for item in items])
    _sweep(items)
    made, failed = [], []
    with interruptible() as interrupted:
        # First what nobody has; then wait for what others had claimed, and take over from those that died.
        for wait in (False, True):
            for item in items:
                try:
                    if item.prompt in failed or not _made(item, prior, interrupted, wait):
                        continue
                except UserError as error:
                    failed.append(item.prompt)
                    print(f"failed  {item.prompt}: {error}", file=sys.stderr, flush=True)
                    continue
                made.append(item.folder.name)
                print(f"{_count(items)}/{len(items)}  {item.prompt}", flush=True)
    if interrupted.is_set():
        raise UserError(f"stopped with {_count(items)} of {len(items)} done; the same command goes on")
    if failed:
        raise UserError(
            f"{len(failed)} of {len(items)} could not be made, for the reasons above ({', '.join(failed)}); "
            "all others are there"
        )
    return made


def _made(item: Item, prior: ImagePrior, interrupted: threading.Event, wait: bool) -> bool:
    """Whether the item was made here: unless it is there, or (without `wait`) another worker has it."""
    if interrupted.is_set() or item.finished:
        return False
    with claim(item, interrupted if wait else None) as ours:
        if not ours or item.finished:
            return False
        for _ in make(item, ImageModule(item.spec, prior)):
            if interrupted.is_set():
                return False
    return True


def _count(items: list[Item]) -> int:
    return sum(item.finished for item in items)


def _sweep(items: list[Item]) -> None:
    """Throw away what killed workers left half done; the items of living ones are locked."""
    for item in items:
        for unfinished in item.folder.parent.glob(f".{item.folder.name}.*"):
            with claim(item) as ours:
                if ours:
                    shutil.rmtree(unfinished, ignore_errors=True)
