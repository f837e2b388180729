"""The configuration of a distillation: the prior, the words, the objective's numbers, the diffusion times.

Nested in the configurations of both halves. Imports no torch at its top, so that `--help` answers at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import tyro

from bridge_nerf.annealing import TimestepRange
from bridge_nerf.distillation.config import ObjectiveConfig
from bridge_nerf.errors import UserError
from bridge_nerf.flags import SIZE, STEP, Range

if TYPE_CHECKING:
    from bridge_nerf.distillation.prior import ImagePrior
    from bridge_nerf.distillation.stages import Active, Stages

StageChoice = Literal["auto", "1", "2"]
Precision = Literal["auto", "float32", "float16", "bfloat16"]
SOURCE_DESCRIPTORS = (
    "oversaturated, smooth, pixelated, cartoon, foggy, hazy, blurry, bad structure, noisy, malformed"
)
"""The paper's source descriptors."""
FLAT = tyro.conf.arg(name="")
"""Leaves the name of a group or a field out of its flag."""


@dataclass
class PriorConfig:
    """The prior, and how it is loaded."""

    name: Annotated[str, FLAT] = "auto"
    """"auto" (Stable Diffusion on a GPU, else the toybox), "toybox", a pipeline's folder, a hub id, or
    package.module:attribute."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    dtype: Precision = "auto"
    """Precision of the networks; auto is the half precision of the family on a GPU. On a CPU it is bfloat16
    where AVX-512 has it (and torch says so, from 2.11 on) and the networks take 128 MiB or more, else
    float32. Another precision is another run."""
    device: str | None = None
    """Device of the networks, as in "cuda:1"; by default that of what is optimised."""
    checkpointing: bool = False
    """Encoding keeps few activations for its gradient and computes the others again, and takes images one at
    a time: less memory, slower."""
    compiling: bool = False
    """The network goes through torch.compile: minutes at the first steps, a little less at each one after;
    on a CPU with bfloat16 more."""
    graphs: Literal["auto", "on", "off"] = "auto"
    """CUDA graphs of network and encoder, one for each set of shapes: one launch instead of about a thousand,
    for memory of their own; auto is on a CUDA device. The part that vsd adds to the network runs without. Not
    run on a card yet."""

    def resolve(self, device: str | None = None) -> tuple[str, str]:
        """(name that does not depend on the machine, a line for the user); nothing is loaded.

        Args:
            device: Device of what is optimised; by default this process's GPU where there is one.

        Raises:
            UserError: There is no such prior, or no such device.
        """
        from bridge_nerf.devices import check_device, default_device
        from bridge_nerf.priors.names import with_revision
        from bridge_nerf.priors.registry import resolve_prior

        where = check_device(self._place(device) or default_device())
        return resolve_prior(with_revision(self.name, self.revision), where)

    def _place(self, device: str | None) -> str | None:
        return device if self.device is None else self.device

    def load(self, device: str | None = None) -> tuple[str, ImagePrior]:
        """(resolved name, prior), frozen, on its own device or else the given one; see `resolve`.

        Raises:
            UserError: It cannot be had, or does not fit into memory.
        """
        from bridge_nerf.devices import default_device, make_current
        from bridge_nerf.priors.registry import dtype_of, load_prior

        name, line = self.resolve(device)
        print(line, flush=True)
        where = self._place(device) or default_device()
        if device is None:  # a trainer has seen to that
            make_current(where)
        options = {"checkpointing": self.checkpointing, "compiling": self.compiling, "graphs": self.graphs}
        return name, load_prior(name, where, dtype_of(self.dtype), **options)


@dataclass
class PromptConfig:
    """The words that are added to a prompt, and those that stand in its place."""

    target_descriptors: str = "detailed high resolution, high quality, sharp"
    """Added to the prompt to say what the image should be."""
    source_descriptors: str = SOURCE_DESCRIPTORS
    """Added to the prompt to say what the image is and should not be ("bridge", stage two)."""
    source_prompt: str = ""
    """The prompt of the image as it is now; empty, the prompt itself. For a run that starts from one of
    another prompt."""
    negative_prompt: str = ""
    """The whole text of the slot NEGATIVE, for objectives that have one; empty, the source descriptors."""


@dataclass
class GuidanceConfig:
    """All numbers and words of a distillation, whatever is optimised."""

    RANGES: ClassVar[dict[str, Range]] = {
        "perp_neg": SIZE,
        "adapter_rank": Range(1, 1024),
        "errors_every": STEP,
    }

    prompts: Annotated[PromptConfig, FLAT] = field(default_factory=PromptConfig)
    """Words that the prior is asked with."""
    objective: Annotated[ObjectiveConfig, FLAT] = field(default_factory=ObjectiveConfig)
    """Numbers of the objective."""
    times: TimestepRange = field(default_factory=TimestepRange)
    """Range of the diffusion times that are drawn."""
    stage: StageChoice = "auto"
    """Changes from one to two at `stage_start` ("auto"), or stays at "1" or "2"."""
    perp_neg: float = 0.0
    """Strength with which the target avoids the negative prompt (in 3D, the opposite view's) without losing
    itself (Perp-Neg, Armandpour et al. 2023); 0 is not at all."""
    adapter_rank: int = 4
    """Rank of the low-rank corrections that learn the current images (vsd, vsd-bridge)."""
    errors_every: int = 0
    """Steps between two measurements of the bridge's two errors, for every source there is; 0 is never. Each
    costs 2 `ode_steps` + 1 network calls a source, and one more."""

    def stages(self, objective: str) -> Stages:
        """The stages of an objective with these numbers.

        Raises:
            UserError: There is no such objective, or a number is impossible with it.
        """
        from bridge_nerf.distillation.epsilon import Slot
        from bridge_nerf.distillation.registry import stages_for

        stages = stages_for(objective, self.objective)
        self.times.check()
        if self.perp_neg and any(Slot.TARGET not in stage.slots for stage in stages.acting):
            raise UserError(f"perp-neg changes nothing where {objective} does not ask TARGET; set it to 0")
        if self.perp_neg and Slot.NEGATIVE in stages.slots:
            raise UserError(f"{objective} has a negative prompt of its own; set perp-neg to 0")
        if self.stage != "auto" and int(self.stage) > len(stages.stages):
            raise UserError(f'the objective "{objective}" has no stage {self.stage}: choose auto')
        return stages

    def active(self, stages: Stages, step: int) -> Active:
        """The objective that acts at this absolute step."""
        return stages.at(step) if self.stage == "auto" else stages.stage(int(self.stage) - 1, step)
