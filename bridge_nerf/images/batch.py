"""The prompt farm: one optimisation a prompt, by any number of workers, none done twice and none lost.

A worker claims a result with a lock on a file, which the kernel gives back when the worker dies, and moves
the finished one to its place in one operation. Seeds depend on prompt and base seed alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

from filelock import FileLock, Timeout

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.errors import Stopped, UserError
from bridge_nerf.files import write_atomic
from bridge_nerf.images.folder import folder_of, provenance
from bridge_nerf.images.gallery import Facts
from bridge_nerf.images.generation import Progress, generate
from bridge_nerf.images.spec import Spec, Subject
from bridge_nerf.interrupts import interruptible
from bridge_nerf.photometry import saturation
from bridge_nerf.pixels import png, to_bytes
from bridge_nerf.reading import read_text


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


def batch_of(prompts: Sequence[str], pattern: Spec, base_seed: int, out: Path) -> dict[Path, Spec]:
    """Folder of the result -> specification, for each prompt; all else is as in `pattern`."""
    specs = [
        replace(pattern, subjects=(Subject((prompt,), seed_for(prompt, base_seed)),)) for prompt in prompts
    ]
    return {folder_of(spec, out / "items"): spec for spec in specs}


def prompt_of(spec: Spec) -> str:
    """The one prompt of a specification."""
    return spec.subjects[0].prompts[0]


@contextmanager
def claim(folder: Path, give_up: threading.Event | None = None) -> Iterator[bool]:
    """Try to own a result until the block ends, and yield whether it is ours; wait for whoever has it until
    the event is set, or not at all where there is none.
    """
    path = folder.parent.parent / "claims" / folder.name
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


def make(spec: Spec, folder: Path, prior: ImagePrior) -> Iterator[Progress]:
    """Optimise step by step, and put the result into its place."""
    progress = None
    for progress in generate([spec], prior):
        yield progress
    assert progress is not None
    image, subject = progress.images(), spec.subjects[0]
    colourful, seconds = saturation(image).mean().item(), round(progress.seconds, 2)
    facts = Facts(prompt_of(spec), subject.seed, folder.name, colourful, seconds)
    note = provenance(spec, progress.done) | {"prompt": prompt_of(spec), "seed": subject.seed, "index": 0}
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    write_atomic(unfinished / "picture.png", png(to_bytes(image)[0], note))
    write_atomic(unfinished / "item.json", json.dumps(asdict(facts)).encode())
    os.replace(unfinished, folder)


def run_batch(specs: Mapping[Path, Spec], prior: ImagePrior) -> list[Path]:
    """Make all results that are not there yet; return the folders of those made by this process.

    Started several times, on one machine or on several that share the folder, the workers divide the work
    among them, by their claims alone: they need not know of each other, and it does not matter who started
    them. A killed worker's claim passes to one of the others.

    Args:
        specs: Folder of the result -> specification, as `batch_of` gives them.

    Raises:
        UserError: A prompt cannot be read; it was interrupted, and the same command goes on; or some results
            could not be made, which is said once all others are.
    """
    prior.check_prompts([prompt_of(spec) for spec in specs.values()])
    _sweep(specs)
    made, failed = [], []
    with interruptible() as interrupted:
        # First what nobody has; then wait for what others had claimed, and take over from those that died.
        for wait in (False, True):
            for folder, spec in specs.items():
                prompt = prompt_of(spec)
                try:
                    if prompt in failed or not _made(spec, folder, prior, interrupted, wait):
                        continue
                except UserError as error:
                    failed.append(prompt)
                    print(f"failed  {prompt}: {error}", file=sys.stderr, flush=True)
                    continue
                made.append(folder)
                print(f"{_count(specs)}/{len(specs)}  {prompt}", flush=True)
    if interrupted.is_set():
        raise Stopped(f"stopped with {_count(specs)} of {len(specs)} done; the same command goes on")
    if failed:
        raise UserError(
            f"{len(failed)} of {len(specs)} could not be made, for the reasons above ({', '.join(failed)}); "
            "all others are there"
        )
    return made


def _made(spec: Spec, folder: Path, prior: ImagePrior, interrupted: threading.Event, wait: bool) -> bool:
    """Make a result unless it is there, or (without `wait`) another worker has it; True where it was made."""
    if interrupted.is_set() or folder.exists():
        return False
    with claim(folder, interrupted if wait else None) as ours:
        if not ours or folder.exists():
            return False
        for _ in make(spec, folder, prior):
            if interrupted.is_set():
                return False
    return True


def _count(folders: Iterable[Path]) -> int:
    return sum(folder.exists() for folder in folders)


def _sweep(folders: Iterable[Path]) -> None:
    """Throw away what killed workers left half done; what living ones make is locked."""
    for folder in folders:
        for unfinished in folder.parent.glob(f".{folder.name}.*"):
            with claim(folder) as ours:
                if ours:
                    shutil.rmtree(unfinished, ignore_errors=True)
