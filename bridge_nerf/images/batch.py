"""The prompt farm: one optimisation a prompt, by any number of workers, none done twice and none lost.

A worker claims an item with a lock on a file, which the kernel gives back when the worker dies, and moves the
finished item to its place in one operation. Seeds depend on prompt and base seed alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.errors import UserError
from bridge_nerf.files import write_whole
from bridge_nerf.images.module import ImageModule, stream
from bridge_nerf.images.pictures import png, to_bytes
from bridge_nerf.images.run import interruptible, provenance, quiet
from bridge_nerf.images.spec import Spec, Subject
from bridge_nerf.toybox.flaws import saturation


def read_prompts(path: Path) -> list[str]:
    """The prompts in a text file, one a line, each once; blank lines and lines from # on do not count.

    Raises:
        UserError: There is no such file, it is no text, or it holds no prompt.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"there is no file {path}; give a text with a prompt a line") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is no text; give one with a prompt a line") from None
    prompts = [line.split("#")[0].strip() for line in lines]
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
    return [Item(spec, out / "items" / spec.name) for spec in specs]


@contextmanager
def claim(item: Item, wait: bool) -> Iterator[bool]:
    """Whether the item is ours until the block ends; `wait` for whoever has it, or answer False at once."""
    path = item.folder.parent.parent / "claims" / item.folder.name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def make(item: Item, module: ImageModule) -> Iterator[None]:
    """Optimise an item step by step, and put the result into its place."""
    begin = time.perf_counter()
    for _ in stream(module):
        yield
    picture = module.pictures()
    note = provenance(item.spec, item.spec.recipe.steps)
    subject = item.spec.subjects[0]
    facts = {
        "prompt": item.prompt,
        "seed": subject.seed,
        "folder": item.folder.name,
        "saturation": saturation(picture).mean().item(),
        "seconds": round(time.perf_counter() - begin, 2),
    }
    unfinished = item.folder.with_name(f".{item.folder.name}.{os.getpid()}")
    data = png(to_bytes(picture)[0], note | {"prompt": item.prompt, "seed": subject.seed, "index": 0})
    write_whole(unfinished / "picture.png", data)
    write_whole(unfinished / "item.json", json.dumps(facts).encode())
    os.replace(unfinished, item.folder)


class PromptFarm(lightning.LightningModule):
    """Predicts an item by optimising it; Lightning hands the items to its processes."""

    def __init__(self, items: list[Item], prior: ImagePrior, interrupted: threading.Event) -> None:
        super().__init__()
        self.items, self.prior, self.interrupted = items, prior, interrupted

    def predict_step(self, batch: Any, batch_idx: int) -> str | None:
        """The folder's name of the item, where it was made here."""
        return self.work(self.items[int(batch)], wait=False)

    def work(self, item: Item, wait: bool) -> str | None:
        """Make the item, unless it is there, or (without `wait`) another worker has it."""
        if self.interrupted.is_set() or item.finished:
            return None
        with claim(item, wait) as ours, torch.enable_grad():
            if not ours or item.finished:
                return None
            for _ in make(item, ImageModule(item.spec, self.prior)):
                if self.interrupted.is_set():
                    return None
        done = sum(other.finished for other in self.items)
        print(f"{done}/{len(self.items)}  {item.prompt}", flush=True)
        return item.folder.name


def run_batch(items: list[Item], prior: ImagePrior, devices: int = 1, num_nodes: int = 1) -> list[str]:
    """Make all items that are not there yet; answers the folders of those made by this process.

    Started several times, on one machine or on several that share the folder, the workers divide the items
    among them. What a killed worker had claimed is made by one of the others.

    Raises:
        UserError: A prompt cannot be read, or it was interrupted; the same command goes on.
    """
    prior.check_prompts([item.prompt for item in items])
    _sweep(items)
    with interruptible() as interrupted, quiet():
        farm = PromptFarm(items, prior, interrupted)
        trainer = lightning.Trainer(
            accelerator=prior.device.type,
            devices=devices,
            num_nodes=num_nodes,
            strategy="ddp" if devices * num_nodes > 1 else "auto",
            inference_mode=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        made = trainer.predict(farm, DataLoader(range(len(items)), batch_size=1))  # type: ignore[arg-type]
        # What others had claimed: wait for them, and take over from those that died.
        made = [*(made or ()), *(farm.work(item, wait=True) for item in items)]
    if interrupted.is_set():
        done = sum(item.finished for item in items)
        raise UserError(f"stopped with {done} of {len(items)} done; the same command goes on")
    return [name for name in made if name]


def _sweep(items: list[Item]) -> None:
    """Throw away what killed workers left half done; the items of living ones are locked."""
    for item in items:
        for unfinished in item.folder.parent.glob(f".{item.folder.name}.*"):
            with claim(item, wait=False) as ours:
                if ours:
                    shutil.rmtree(unfinished, ignore_errors=True)
