"""Checks of a run's configuration before anything is loaded or written."""

from __future__ import annotations

import errno
import importlib.util
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from nerfstudio.configs.base_config import MachineConfig
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.utils.rich_utils import CONSOLE

from bridge_nerf.distillation.presets import SCENE_PRESETS
from bridge_nerf.errors import UserError, printable, want_of_memory
from bridge_nerf.flags import SEED, SIZE, STEP, STEPS, Range, check_flags
from bridge_nerf.guidance.relevance import check_relevant
from bridge_nerf.nerf.engine import checkpoint
from bridge_nerf.nerf.engine.learning_rate import RampSchedulerConfig
from bridge_nerf.nerf.model import OCCUPANCY_CELLS
from bridge_nerf.nerf.pipeline import BridgePipeline, BridgePipelineConfig
from bridge_nerf.nerf.scene.field import FieldConfig
from bridge_nerf.nerf.scene.hash_encoding import fused, without_triton
from bridge_nerf.priors.memory import GIB, free_bytes
from bridge_nerf.priors.registry import check_graphs, check_words
from bridge_nerf.wording import says_nothing

if TYPE_CHECKING:
    from bridge_nerf.nerf.engine.trainer import BridgeTrainerConfig

OWN_VIEWS = "--vis viewer+tensorboard"
LOGINS = {"wandb": ("~/.netrc", "~/_netrc"), "comet": ("~/.comet.config",)}
"""Log -> files in which a login leaves its key."""
RAYS = Range(1, 2**22)
"""Range of rays that are rendered together outside training."""
RANGES: Mapping[str, Range] = {
    "machine.seed": SEED,
    "machine.num-devices": Range(1, 1024),
    "machine.num-machines": Range(1, 4096),
    "machine.machine-rank": STEP,
    "logging.steps-per-log": STEPS,
    "logging.max-buffer-size": Range(1, 10**6),
    "viewer.websocket-port": Range(1, 65535),
    "viewer.websocket-port-default": Range(1, 65535),
    "viewer.num-rays-per-chunk": RAYS,
    "viewer.max-num-display-images": Range(-1, 10**6),
    "viewer.jpeg-quality": Range(1, 100),
    "viewer.camera-frustum-scale": SIZE,
    "pipeline.model.collider-params.near-plane": SIZE,
    "pipeline.model.collider-params.far-plane": SIZE,
    "pipeline.model.loss-coefficients.rgb-loss-coarse": SIZE,
    "pipeline.model.loss-coefficients.rgb-loss-fine": SIZE,
    "max-num-iterations": STEPS,
    "steps-per-save": STEPS,
    "steps-per-eval-batch": STEP,
    "steps-per-eval-image": STEP,
    "steps-per-eval-all-images": STEP,
    "load-step": STEP,
    "turntable-frames": Range(1, 10_000),
}
"""Ranges of nerfstudio's own flags; our configurations have theirs in an attribute of this name."""


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Turn errors that the user can mend into SystemExit with one line, which Python prints without a
    traceback, with exit code 1."""
    try:
        yield
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    except OSError as error:
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        where = f"{error.filename}: " if error.filename else ""
        what = f"{where}{error.strerror}"
        raise SystemExit(f"error: {printable(what)}; mend that or choose another --output-dir") from None
    except (RuntimeError, MemoryError) as error:
        if (reason := want_of_memory(error)) is None:
            raise
        sizes = "train-resolution, final-resolution or cameras-per-step of --pipeline.datamanager"
        smaller = f"{sizes}, --pipeline.model.samples or a smaller field"
        raise SystemExit(f"error: not enough memory ({reason}); lower {smaller}") from None


@contextmanager
def exit_on_ctrl_c() -> Iterator[None]:
    """Turn KeyboardInterrupt into SystemExit with the exit code of shells: nerfstudio would print a traceback
    and end as a run that succeeded."""
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def note(message: str) -> None:
    """Print a line as it is, without nerfstudio's markup and line breaks."""
    CONSOLE.print(message, highlight=False, markup=False, soft_wrap=True)


def check(config: BridgeTrainerConfig, pipeline: BridgePipelineConfig) -> None:
    """Raises UserError for whatever is known to be wrong before anything is loaded."""
    prompts = [p for p in (config.prompt, pipeline.model.prompt) if p is not None]
    if not prompts or any(map(says_nothing, prompts)):
        raise UserError('the prompt is empty; say what to make, for example --prompt "a pineapple"')
    if odd := [p for p in prompts if len(p.splitlines()) > 1]:
        raise UserError(f"--prompt {odd[0]!r:.80} has a line break; write one line")
    if config.data is not None or pipeline.datamanager.data is not None:
        raise UserError("bridge-distill makes an object from a prompt; leave --data out")
    pipeline.datamanager.check()
    check_flags(config, RANGES)
    if (size := pipeline.datamanager.eval_resolution) % 2:
        raise UserError(
            f"--pipeline.datamanager.eval-resolution {size} is odd, which an H.264 video cannot be; "
            f"give {size + 1}"
        )
    for name, steps in config.gradient_accumulation_steps.items():
        if name not in config.optimizers or not STEPS.holds(steps):
            raise UserError(
                f"--gradient-accumulation-steps {name} {steps} makes no sense; give one or more of "
                f"{', '.join(config.optimizers)}, each with {STEPS}"
            )
    check_machine(config.machine, config.mixed_precision)
    pipeline.stages()
    pipeline.model.regularisation()
    check_hash_kernel(pipeline.model.field, torch.device(config.machine.device_type))
    for group in config.optimizers.values():
        if isinstance(scheduler := group["scheduler"], RampSchedulerConfig):
            scheduler.ramp()
    check_prior(pipeline, config.machine.device_type)
    check_logs(config)
    with torch.device("meta"):  # a model without numbers
        draft = pipeline.setup(device="meta", test_mode="inference")
    check_memory(config, draft)
    path = checkpoint.chosen(config.load_dir, config.load_step, config.load_checkpoint)
    begun = check_checkpoint(path, config, draft) + 1 if path else 0
    check_stages_reached(pipeline, begun + config.max_num_iterations)


def check_memory(config: BridgeTrainerConfig, draft: BridgePipeline) -> None:
    """Raises UserError for a run on a CPU that takes more memory than is free, by what is known before it
    begins: the prior and most of what a gradient needs are not. A GPU has an error of its own.

    Args:
        draft: The pipeline on the meta device.
    """
    cameras, model = config.pipeline.datamanager, config.pipeline.model
    side = max(cameras.train_resolution, cameras.final_resolution or 0)
    # Each parameter with its gradient and two averages; tables of distances, of cells and of what is kept;
    # the hidden layer at all cells at once.
    parts = {
        "--pipeline.model.field": 16 * sum(p.numel() for p in draft.parameters()),
        "--pipeline.datamanager.cameras-per-step, train-resolution or final-resolution, or "
        "--pipeline.model.samples": cameras.cameras_per_step * side**2 * (13 * model.samples + 60),
        "--pipeline.model.field.hidden": 4 * OCCUPANCY_CELLS**3 * model.field.hidden,
        "--turntable-frames or --pipeline.datamanager.eval-resolution": (
            27 * config.turntable_frames * cameras.eval_resolution**2
        ),
    }
    free = free_bytes(torch.device("cpu")) if config.machine.device_type == "cpu" else None
    flags, size = max(parts.items(), key=lambda part: part[1])
    if free is not None and sum(parts.values()) > free:
        raise UserError(
            f"this run takes at least {sum(parts.values()) / GIB:.1f} GiB of memory and {free / GIB:.1f} GiB "
            f"are free; lower {flags}, which takes {size / GIB:.1f} GiB"
        )


def check_logs(config: TrainerConfig) -> None:
    """Raises UserError for a log of another firm's that would ask for a key, or is not installed."""
    for name, module, wanted, keys in (
        ("wandb", "wandb", config.is_wandb_enabled(), ("WANDB_API_KEY", "WANDB_MODE")),
        ("comet", "comet_ml", config.is_comet_enabled(), ("COMET_API_KEY",)),
    ):
        if not wanted:
            continue
        if importlib.util.find_spec(module) is None:
            raise UserError(f"--vis {config.vis} needs the package {module}; install it, or give {OWN_VIEWS}")
        logged_in = [Path(file).expanduser() for file in LOGINS[name]]
        if not any(map(os.environ.get, keys)) and not any(file.is_file() for file in logged_in):
            raise UserError(
                f"--vis {config.vis} would ask for a key; set {keys[0]}, or log in to {name} first, or give "
                f"{OWN_VIEWS}"
            )


def check_checkpoint(path: Path, config: TrainerConfig, draft: BridgePipeline) -> int:
    """The step of a checkpoint.

    Args:
        draft: The pipeline, without adapter, on the meta device: the prior, on which that depends, is not
            loaded yet.

    Raises:
        UserError: The checkpoint is torn, or of another model.
    """
    state = checkpoint.read(path)
    own = checkpoint.after_a_step(config.optimizers, draft.get_param_groups())
    try:
        draft.fitted(state["pipeline"])
        checkpoint.fitted_training(state, own, checkpoint.begun(state, config))
    except UserError as error:
        raise checkpoint.foreign(path, error) from error
    return state["step"]


def check_prior(pipeline: BridgePipelineConfig, device_type: str) -> None:
    """Raises UserError for a prior that does not exist, cannot be loaded so, or does not know the words."""
    prior, words, prompt = pipeline.prior, pipeline.guidance.prompts, pipeline.model.prompt or ""
    name, _ = prior.resolve(device_type)
    check_graphs(prior.graphs, prior.device or device_type)
    check_words(name, [prompt, words.target_descriptors, words.source_descriptors])
    check_words(name, [words.source_prompt, words.negative_prompt])
    pipeline.view.check_text(prompt, "--prompt")
    for field in ("target_descriptors", "source_descriptors", "source_prompt"):
        pipeline.view.check_text(getattr(words, field), f"--pipeline.{field.replace('_', '-')}")
    if remark := pipeline.background_note(prompt):
        note(f"note: {remark}")
    for phrase in pipeline.view.front_only:
        if phrase.lower() not in prompt.lower():
            raise UserError(
                f'--pipeline.view.front-only "{phrase}" changes nothing, as the prompt does not say it: '
                "leave it out"
            )


def check_hash_kernel(field: FieldConfig, device: torch.device) -> None:
    """Raises UserError where Triton is demanded and absent; says so where it would have been faster."""
    if field.encoding != "hash" or fused(field.hash_kernel, device):
        return
    if field.hash_kernel == "auto" and device.type == "cuda":
        note(f"note: the hash encoding runs in torch, far slower: Triton {without_triton(device)}")


def check_stages_reached(pipeline: BridgePipelineConfig, end: int) -> None:
    """Print a note where the run ends at step `end` before its last stage begins, as a trial may.

    Raises:
        UserError: The objective is a preset, which would not be what it is called.
    """
    try:
        if pipeline.guidance.stage == "auto":
            pipeline.stages().check_reached(end)
    except UserError as error:
        if pipeline.objective in SCENE_PRESETS:
            raise
        note(f"note: {error}")


def check_machine(machine: MachineConfig, mixed_precision: bool) -> None:
    """Raises UserError for devices or machines that are not there or do not go together."""
    cuda, there = machine.device_type == "cuda", torch.cuda.device_count()
    if cuda and not there:
        raise UserError(
            "there is no CUDA device; use bridge-distill-tiny, or give --machine.device-type cpu, where "
            "Stable Diffusion takes hours"
        )
    if machine.device_type == "cpu" and mixed_precision:
        raise UserError(
            "--mixed-precision True changes nothing on a CPU, where nerfstudio trains in float32: "
            "leave it out"
        )
    if machine.num_devices > (most := there if cuda else 1):
        raise UserError(
            f"--machine.num-devices {machine.num_devices} is more than there are: with "
            f"--machine.device-type {machine.device_type} give {Range(1, most)}"
        )
    if machine.num_machines > 1 and not cuda:
        raise UserError(f"--machine.num-machines {machine.num_machines} wants CUDA devices; give 1")
    if machine.num_machines > 1 and machine.dist_url == "auto":
        raise UserError(
            f"--machine.num-machines {machine.num_machines} wants --machine.dist-url, the same on every "
            "machine, as in tcp://192.0.2.1:29500"
        )
    if machine.machine_rank >= machine.num_machines:
        raise UserError(
            f"--machine.machine-rank {machine.machine_rank} makes no sense; give "
            f"{Range(0, machine.num_machines - 1)}, as --machine.num-machines is {machine.num_machines}"
        )


def check_effective(config: TrainerConfig, pipeline: BridgePipelineConfig, flags: set[str]) -> None:
    """Refuse flags that make no sense or change nothing.

    Args:
        flags: Flags that the user set.

    Raises:
        UserError: A number out of range, or a flag that changes nothing beside the others.
    """
    check_flags(config, RANGES)
    adapter = {"adapter_rate": "optimizers.adapter.optimizer.lr"}
    check_relevant([(pipeline.objective, pipeline.guidance)], flags, "pipeline.", adapter)
    for pattern, condition in _ineffective(pipeline):
        if idle := sorted(flag for flag in flags if re.fullmatch(rf"pipeline\.{pattern}", flag)):
            raise UserError(f"--{idle[0]} changes nothing while {condition}: leave it out, or change that")


def ineffective(config: TrainerConfig, pipeline: BridgePipelineConfig, flags: Iterable[str]) -> set[str]:
    """Those of the flags that `check_effective` refuses, as where a stage was chosen in the viewer."""

    def refused(flag: str) -> bool:
        try:
            check_effective(config, pipeline, {flag})
        except UserError:
            return True
        return False

    return set(filter(refused, flags))


def _ineffective(pipeline: BridgePipelineConfig) -> Iterator[tuple[str, str]]:
    """Pairs of (pattern of flags, condition that holds and under which they change nothing)."""
    model, field, cameras = pipeline.model, pipeline.model.field, pipeline.datamanager
    if not (model.sparsity_weight or model.entropy_weight or model.distortion_weight):
        yield r"model\.regularise-.*", "the weights of sparsity, entropy and distortion are 0"
    if not model.entropy_weight:
        yield r"model\.entropy-from", "--pipeline.model.entropy-weight is 0"
    if not pipeline.orient_every:
        yield "orient-until", "--pipeline.orient-every is 0"
    if pipeline.view.front == pipeline.view.back:
        yield "orient-.*", "front and back of --pipeline.view have the same words"
    if cameras.final_resolution in (None, cameras.train_resolution):
        yield r"datamanager\.final-resolution-from", "training images keep their size"
    if not cameras.orbit.overhead_share:
        yield r"datamanager\.orbit\.overhead-range", "--pipeline.datamanager.orbit.overhead-share is 0"
    if model.background in ("random", "learned"):
        yield "background-words", f"--pipeline.model.background is {model.background}, which has no name"
    other = "hash" if field.encoding == "grid" else "grid"
    yield rf"model\.field\.{other}-.*", f"--pipeline.model.field.encoding is {field.encoding}"
