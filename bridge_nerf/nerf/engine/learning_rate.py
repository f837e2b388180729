"""Optimizers with all their numbers, and learning rates as a function of the absolute step.

nerfstudio's own schedulers leave a NumPy number in the checkpoint, which torch from 2.6 on refuses to load;
this one computes with Python's floats.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.engine.schedulers import SchedulerConfig
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from bridge_nerf.annealing import Ramp
from bridge_nerf.flags import SIZE, STEP, Range


@dataclass
class AdamWConfig(AdamOptimizerConfig):
    """Adam whose weight decay does not go through its averages (Loshchilov & Hutter 2019); without any it is
    Adam, to the bit."""

    RANGES: ClassVar[dict[str, Range]] = {
        "lr": SIZE,
        "eps": SIZE,
        "betas": Range(0, below=1),
        "weight_decay": SIZE,
        "max_norm": Range(above=0, most=10**6),
    }

    _target: type = AdamW
    betas: tuple[float, float] = (0.9, 0.999)
    """Shares of the averages of gradient and squared gradient that each step keeps."""
    weight_decay: float = 0.0
    """Share of a weight that each step takes away, times the learning rate."""


@dataclass
class RampSchedulerConfig(SchedulerConfig):
    """The learning rate, constant, then falling linearly to a share of itself, then constant again."""

    RANGES: ClassVar[dict[str, Range]] = {"final": SIZE, "begin": STEP, "end": STEP}

    _target: type = field(default_factory=lambda: RampScheduler)
    final: float = 0.1
    """Share of the learning rate that is left in the end."""
    begin: int = 600
    """Absolute step at which it begins to fall."""
    end: int = 1000
    """Absolute step from which on it rests."""

    def ramp(self) -> Ramp:
        """Share of the learning rate, by step; UserError where it ends before it begins."""
        return Ramp(1.0, self.final, self.begin, self.end)


class RampScheduler:
    """Makes the torch scheduler for nerfstudio."""

    def __init__(self, config: RampSchedulerConfig) -> None:
        self.config = config

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LambdaLR:
        """The scheduler; torch knows the initial rate from the optimizer."""
        return LambdaLR(optimizer, self.config.ramp())
