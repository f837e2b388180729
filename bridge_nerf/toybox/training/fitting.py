"""The common part of every training: learning rate, batches and noise as functions of the step, and a
resumable fit with an averaged copy of the weights.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import lightning
import msgspec
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from bridge_nerf.devices import cores, tune
from bridge_nerf.errors import Stopped, UserError, first_line, want_of_memory
from bridge_nerf.files import sweep, write_tensors
from bridge_nerf.flags import STEPS
from bridge_nerf.interrupts import interruptible
from bridge_nerf.priors.cpu import multiplies_bfloat16
from bridge_nerf.reading import read_tensors
from bridge_nerf.resuming import ForeignState, after_a_step, fitted
from bridge_nerf.seeding import generator

Visit = tuple[int, np.random.Generator]
"""Index into a dataset: the number of an image, and the randomness of this visit."""

WARM_UP, COOL_DOWN = 0.01, 0.35
"""Shares of a run in which the learning rate rises and falls linearly; between them it holds, so that a run
resumed with more steps repeats nothing."""


def lr_schedule(step: int, max_steps: int) -> float:
    """The learning rate's factor in [0, 1] at a step."""
    return max(
        0.0, min(1.0, (step + 1) / (WARM_UP * max_steps), (max_steps - step) / (COOL_DOWN * max_steps))
    )


def half_precision() -> bool:
    """True where training in bf16 is the faster one: with a CUDA device, or a CPU that multiplies bf16."""
    return torch.cuda.is_available() or multiplies_bfloat16(torch.device("cpu"))


class TrainedModule(lightning.LightningModule):
    """A module whose learning rate follows `lr_schedule` over `max_steps`.

    Args:
        optimiser: Makes the optimiser of the parameters.
    """

    def __init__(self, optimiser: Callable[..., torch.optim.Optimizer], max_steps: int):
        super().__init__()
        self.optimiser, self.max_steps = optimiser, max_steps

    def configure_optimizers(self) -> Any:
        """The optimiser and its schedule, stepped every batch."""
        optimiser = self.optimiser(self.parameters())
        schedule = LambdaLR(optimiser, lambda step: lr_schedule(step, self.max_steps))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take what is of this training; see `fitted`. Lightning reads the checkpoint next.

        Raises:
            ForeignState: It is of another one.
        """
        self.take_optimiser(checkpoint)
        trainer: Any = self.trainer
        loops, noted = checkpoint["loops"], checkpoint["callbacks"]
        loops["fit_loop"] = fitted(loops.get("fit_loop"), trainer.fit_loop.state_dict(), "loops")
        averages = [each for each in trainer.callbacks if isinstance(each, EMAWeightAveraging)]
        own = {each.state_key: each.state_dict() for each in averages}
        checkpoint["callbacks"] = {key: fitted(noted.get(key), own[key], "callbacks") for key in own}

    def take_optimiser(self, checkpoint: dict[str, Any]) -> None:
        """Take the state of optimiser and schedule; as `on_load_checkpoint`."""
        made = self.configure_optimizers()
        optimiser, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
        averages = after_a_step(optimiser) if checkpoint["global_step"] else optimiser.state_dict()
        for name, own in (("optimizer_states", averages), ("lr_schedulers", schedule.state_dict())):
            checkpoint[name] = fitted(checkpoint[name], [own], name)


class Steps(Sampler[tuple[int, int]]):
    """Endless (rank, k) for every step k from `start` on.

    Without a length: Lightning counts the batches of a resumed run from the first one, and would stop early.
    """

    def __init__(self, start: int, rank: Callable[[], int]):
        self.start, self.rank = start, rank

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.rank(), step) for step in count(self.start))


class StepBatches(Dataset):
    """Whole batches: that of (rank, k) is a function of (seed, rank, k), whichever process makes it.

    Args:
        data: Dataset indexed by a `Visit`; it collates where it has a `collate`.
    """

    def __init__(self, data: Any, batch: int, seed: int):
        self.data, self.batch, self.seed = data, batch, seed
        self.collate: Callable = getattr(data, "collate", default_collate)

    def __getitem__(self, at: tuple[int, int]) -> Any:
        r = np.random.default_rng([self.seed, *at])
        chosen = r.integers(len(self.data), size=self.batch).tolist()
        return self.collate([self.data[visit] for visit in zip(chosen, r.spawn(self.batch), strict=True)])


def batches(
    data: Any,
    batch: int,
    seed: int,
    start: int,
    rank: Callable[[], int],
    workers: int = 0,
    pinned: bool = False,
) -> DataLoader:
    """Loader of the batches of step `start` and of all after it, which do not depend on those before.

    Args:
        workers: Processes that make them ahead of the steps.
        pinned: Lets them end in memory from which a card takes them without waiting.
    """
    return DataLoader(
        StepBatches(data, batch, seed),
        batch_size=None,
        sampler=Steps(start, rank),
        num_workers=workers,
        pin_memory=pinned,
        prefetch_factor=2 if workers else None,
        worker_init_fn=_leave_ctrl_c,
    )


def _leave_ctrl_c(_: int) -> None:
    """Leave it to the process that trains, which saves what there is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class StepSeed(Callback):
    """Callback that makes torch's noise of step k a function of (seed, rank, k) too."""

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_batch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Reseed."""
        rng = generator(self.seed, "training", trainer.global_rank, trainer.global_step)
        torch.manual_seed(rng.initial_seed())


class Finite(Callback):
    """Callback that ends a training before a loss that is not finite reaches weights or a checkpoint."""

    def on_before_backward(self, trainer: lightning.Trainer, _: Any, loss: torch.Tensor) -> None:
        """Raise UserError with the step."""
        if not torch.isfinite(loss).all():
            raise UserError(
                f"training step {trainer.global_step}: the loss is {loss.item()}; checkpoints from before "
                "are kept, try another seed or a lower learning rate in a new folder"
            )


class Ends(Callback):
    """Callback that lets a training begin where its checkpoint ends, and end after a step, with a
    checkpoint, once it is asked to.

    Args:
        start: Step at which it begins.
        asked: The question; in training on several devices it is enough that one of them is asked.
        path: Place of the checkpoint.
    """

    def __init__(self, start: int, asked: threading.Event, path: Path):
        self.start, self.asked, self.path = start, asked, path
        self.handler, self.begun = signal.getsignal(signal.SIGTERM), False

    def on_train_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Raise ValueError at another step, and put our handler back: Lightning has put one of its own in its
        place, which ends the process with exit code 0, and without a checkpoint.
        """
        if trainer.global_step != self.start:
            raise ValueError(f"it says step {self.start}, and is of step {trainer.global_step}")
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.handler)
        self.begun = True

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Save and raise `Stopped`, but for the last step, which ends the training as ever."""
        asked = trainer.strategy.reduce_boolean_decision(self.asked.is_set(), all=False)
        if asked and trainer.global_step < trainer.max_steps:
            trainer.save_checkpoint(self.path)
            done = f"step {trainer.global_step} of {trainer.max_steps}"
            raise Stopped(f"stopped after {done} of {self.path.parent.name}; the same command goes on")


class WholeCheckpoints(TorchCheckpointIO):
    """Files of checkpoints that are whole or not there, and from which nothing is unpickled.

    Lightning's own are written beside the system's temporary files and moved, which on another disk is a copy
    that may be cut short.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write it."""
        write_tensors(Path(path), checkpoint)

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        """Read it; see `read_tensors`."""
        return read_tensors(Path(path), dict, ANEW)


ANEW = "remove it, and this part is trained anew"
Step = Annotated[int, msgspec.Meta(ge=0, le=int(STEPS.most))]


@dataclass
class Checkpoint:
    """What Lightning's Trainer and its average of the weights note."""

    global_step: Step
    state_dict: dict[str, torch.Tensor]
    """The averaged weights."""
    current_model_state: dict[str, torch.Tensor]
    averaging_state: dict[str, torch.Tensor]
    loops: dict[str, Any]
    optimizer_states: list[dict[str, Any]]
    lr_schedulers: list[dict[str, Any]]


def _checkpoint(path: Path, module: TrainedModule) -> Checkpoint:
    """The checkpoint in a file, which belongs to the module; that gets the averaged weights.

    Raises:
        UserError: It is torn, or of another module.
    """
    saved = read_tensors(path, Checkpoint, ANEW)
    own = module.state_dict()
    try:
        module.take_optimiser(vars(saved))
        fitted(saved.current_model_state, own, "current_model_state")
        module.load_state_dict(fitted(saved.state_dict, own, "state_dict"))
    except ForeignState as error:
        raise UserError(f"{path} is of another training ({first_line(error)}); {ANEW}") from None
    return saved


def fit(
    module: TrainedModule,
    data: Dataset,
    batch: int,
    seed: int,
    folder: Path,
    max_steps: int,
    accelerator: str = "auto",
    devices: int = 1,
    save_every: int = 200,
    workers: int | None = None,
) -> None:
    """Train to `max_steps`, from `folder`/last.ckpt where there is one; the module ends with the averaged
    weights.

    A stopped and resumed run ends, on a CPU, as one that never stopped. Precision is bf16 mixed where the
    device multiplies bf16, else float32 (a CPU without it is ten times slower in bf16); the average of the
    weights looks back over about a twentieth of the run.

    Args:
        data: As in `StepBatches`.
        workers: Processes that make batches ahead of the steps, for each device; None is all cores but
            one where a card trains, so that it need not wait, and 0 where the CPU does: they would slow it.

    Raises:
        UserError: The loss of a step is not finite, or the checkpoint is torn, or of another training.
        Stopped: It was interrupted, and has saved what there is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    last, start = folder / "last.ckpt", 0
    if last.exists():
        start = _checkpoint(last, module).global_step
        if start >= max_steps:  # Lightning would end at once, with the weights not averaged
            return
    with interruptible() as asked:
        ends = Ends(start, asked, last)
        callbacks = [StepSeed(seed), Finite(), ends]
        trainer = _trainer(folder, max_steps, accelerator, devices, save_every, callbacks)
        device = trainer.strategy.root_device
        tune(device)
        cuda = device.type == "cuda"
        if workers is None:
            workers = max(1, (cores() - 1) // devices) if cuda else 0
        loader = batches(data, batch, seed, start, lambda: trainer.global_rank, workers, pinned=cuda)
        try:
            trainer.fit(module, loader, ckpt_path=last if last.exists() else None)
        except SystemExit:  # with which Lightning answers a second Ctrl-C, without a word
            raise KeyboardInterrupt from None
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if want_of_memory(error) or (
                isinstance(error, UserError) and not isinstance(error, ForeignState)
            ):
                raise
            if asked.is_set():  # and its processes were told to end, too
                raise Stopped(f"stopped during {folder.name}; the same command goes on") from None
            if last.exists() and not ends.begun:
                raise UserError(f"{last} is of another training ({first_line(error)}); {ANEW}") from None
            raise
        if asked.is_set():
            raise Stopped(f"stopped at the end of {folder.name}; the same command goes on")


def _trainer(
    folder: Path, max_steps: int, accelerator: str, devices: int, save_every: int, callbacks: list[Callback]
) -> lightning.Trainer:
    average = EMAWeightAveraging(decay=max(0.5, 1 - 20 / max_steps), update_starting_at_step=max_steps // 20)
    return lightning.Trainer(
        accelerator=accelerator,
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        # It starts its processes itself, also where it is one task of a SLURM job.
        plugins=[LightningEnvironment(), WholeCheckpoints()],
        max_steps=max_steps,
        precision="bf16-mixed" if half_precision() else "32-true",
        gradient_clip_val=1.0,
        logger=CSVLogger(folder, name="", version=""),
        log_every_n_steps=20,
        callbacks=[
            average,
            *callbacks,
            # In a folder that was moved it would write beside the checkpoint, with a number in the name.
            ModelCheckpoint(
                folder,
                save_last=True,
                save_top_k=0,
                every_n_train_steps=save_every,
                enable_version_counter=False,
            ),
            TQDMProgressBar(refresh_rate=20),
        ],
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
