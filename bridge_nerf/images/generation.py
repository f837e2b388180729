"""The loop that makes images, of one specification or of several in lock step; observers iterate over it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.guidance.config import PriorConfig
from bridge_nerf.images.module import ImageModule
from bridge_nerf.images.options import ImageOptions
from bridge_nerf.images.spec import Spec
from bridge_nerf.resuming import after_a_step, fitted

FRAMES = 100
"""Number of frames of a run's film, about."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The whole state of a specification between two steps, under the names of Lightning's Trainer."""

    global_step: int
    """Steps made."""
    state_dict: dict[str, Tensor]
    optimizer_states: list[dict[str, Any]]
    lr_schedulers: list[dict[str, Any]]

    def __post_init__(self) -> None:
        if self.global_step < 0 or len(self.optimizer_states) != 1 or len(self.lr_schedulers) != 1:
            raise ValueError("it is not of one optimisation")


class _Run:
    """A module with its optimizer and its learning-rate schedule."""

    def __init__(self, module: ImageModule) -> None:
        self.module, settings = module, module.configure_optimizers()
        self.optimizer, self.scheduler = settings["optimizer"], settings["lr_scheduler"]["scheduler"]

    def step(self, step: int) -> None:
        with torch.enable_grad():
            self.optimizer.zero_grad()
            self.module.loss(step).backward()
            self.optimizer.step()
            self.scheduler.step()

    def resume(self, checkpoint: Checkpoint) -> None:
        module, optimizer, scheduler = self.module, self.optimizer, self.scheduler
        averages = after_a_step(optimizer) if checkpoint.global_step else optimizer.state_dict()
        state = fitted(checkpoint.state_dict, module.state_dict(), "state_dict")
        optimizer_state = fitted(checkpoint.optimizer_states[0], averages, "optimizer_states")
        schedule = fitted(checkpoint.lr_schedulers[0], scheduler.state_dict(), "lr_schedulers")
        module.load_state_dict(state)
        optimizer.load_state_dict(optimizer_state)
        scheduler.load_state_dict(schedule)


@dataclass(frozen=True, eq=False)
class Progress:
    """The state of an optimisation between two steps; its images are those of now, until the next step."""

    done: int
    """Steps made so far."""
    steps: int
    """Steps in all."""
    seconds: float
    """Time since `generate` began."""
    runs: Sequence[_Run]

    @property
    def modules(self) -> list[ImageModule]:
        """One for each specification."""
        return [run.module for run in self.runs]

    @property
    def metrics(self) -> list[dict[str, float]]:
        """The numbers of the last step, for each specification; empty before the first one."""
        return [module.metrics for module in self.modules]

    @property
    def frame_due(self) -> bool:
        """True at the steps whose images make a film of about FRAMES frames."""
        return self.done % max(1, self.steps // FRAMES) == 0 or self.done == self.steps

    def images(self) -> Float[Tensor, "b 3 h w"]:
        """The images of all specifications, RGB in [0, 1], on the CPU."""
        return torch.cat([module.images() for module in self.modules])

    def checkpoints(self) -> list[Checkpoint]:
        """The state of each specification, for `generate` to go on from. Tensors are not copied."""
        return [
            Checkpoint(
                self.done,
                run.module.state_dict(),
                [run.optimizer.state_dict()],
                [run.scheduler.state_dict()],
            )
            for run in self.runs
        ]


OnStep = Callable[[Progress], bool | None]
"""A function called after each step; False ends the run, which can be resumed."""


def generate(
    specs: Sequence[Spec],
    prior: ImagePrior,
    start: Float[Tensor, "b 3 h w"] | None = None,
    checkpoints: Sequence[Checkpoint] = (),
) -> Generator[Progress, None, None]:
    """Optimise all specifications in lock step; yield the progress before the first step and after each.

    Stop by leaving the loop. The images are, bit for bit, those that `lightning.Trainer` makes of an
    `ImageModule`.

    Args:
        specs: All of one size and with equally many steps.
        start: Images to start from, one for each subject; noise by default.
        checkpoints: States to go on from, one for each specification, all after the same step.

    Raises:
        UserError: The prior cannot read a prompt, a specification is impossible, a checkpoint is of another
            optimisation, or a loss is not finite.
    """
    begin, steps = time.perf_counter(), specs[0].config.steps
    runs = [_Run(ImageModule(spec, prior, start)) for spec in specs]
    for run, checkpoint in zip(runs, checkpoints, strict=bool(checkpoints)):
        run.resume(checkpoint)
    done = checkpoints[0].global_step if checkpoints else 0
    yield Progress(done, steps, time.perf_counter() - begin, runs)
    for step in range(done, steps):
        for run in runs:
            run.step(step)
        yield Progress(step + 1, steps, time.perf_counter() - begin, runs)


def make_images(
    prompt: str,
    objective: str = "bridge",
    prior: str = "auto",
    seed: int = 0,
    count: int = 1,
    size: int | None = None,
    **numbers: Any,
) -> Float[Tensor, "b 3 h w"]:
    """Optimise images of a prompt, as `bridge-nerf image` does; RGB in [0, 1], on the CPU.

    Args:
        prior: Name, as for `load_prior`; "auto" is Stable Diffusion on a GPU, else the toybox.
        count: Number of images, with seeds from `seed` on.
        size: Pixels a side; by default those that the prior was trained on.
        numbers: Numbers and words by the flags of `bridge-nerf image`, as in steps=100, guidance_scale=5.0 or
            **{"times.maximum": 0.8}; those that are not given follow the prior and the objective.

    Raises:
        UserError: A name, a number or a word of the prompt is unknown or impossible.
    """
    overrides = {name.replace("_", "-"): value for name, value in numbers.items()}
    options = ImageOptions(prior=PriorConfig(prior), size=size, seed=seed, overrides=overrides)
    spec, loaded = options.load("image", objective, (prompt,), count)
    *_, last = generate([spec], loaded)
    return last.images()
