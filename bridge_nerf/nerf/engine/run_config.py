"""A run of bridge-distill as configured, and what is refused before anything is loaded or written."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import tyro
import yaml
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.utils.rich_utils import CONSOLE

from bridge_nerf.distillation.registry import SCENE_PRESETS, guidance_of
from bridge_nerf.errors import UserError, want_of_memory
from bridge_nerf.files import write_atomic
from bridge_nerf.flags import Range, check_flags
from bridge_nerf.nerf.engine import checkpoint, commands
from bridge_nerf.nerf.engine.defaults import check_given, follow, given, typed
from bridge_nerf.nerf.engine.learning_rate import RampSchedulerConfig
from bridge_nerf.nerf.engine.ranges import RANGES
from bridge_nerf.nerf.pipeline import BridgePipelineConfig
from bridge_nerf.nerf.scene.hash_encoding import fused, without_triton
from bridge_nerf.priors.names import TOYBOX, with_revision
from bridge_nerf.priors.registry import check_device, check_graphs, check_words, kind_of, resolve_prior
from bridge_nerf.wording import join_prompt

UNRELATED = {"experiment-name", "numbers", "defaults-for", "method-name"}
"""What no prior and no objective decides."""
EARLIER = "stable-diffusion"
"""What runs note that began when every prior but the toybox had the same numbers."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """What the user can mend ends the command with one line and exit code 1, without a traceback."""
    try:
        yield
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    except OSError as error:
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        where = f"{error.filename}: " if error.filename else ""
        what = f"{where}{error.strerror}"
        raise SystemExit(f"error: {what}; mend that or choose another --output-dir") from None
    except (RuntimeError, MemoryError) as error:
        if (reason := want_of_memory(error)) is None:
            raise
        sizes = "train-resolution, final-resolution or views of --pipeline.datamanager"
        smaller = f"{sizes}, --pipeline.model.samples or a smaller field"
        raise SystemExit(f"error: not enough memory ({reason}); lower {smaller}") from None


@dataclass
class BridgeTrainerConfig(TrainerConfig):
    """A run of bridge-distill."""

    _target: type = field(default_factory=lambda: _trainer())
    pipeline: BridgePipelineConfig = field(default_factory=BridgePipelineConfig)
    """Cameras, object and guidance."""
    turntable_frames: int = 48
    """Frames of the turntable video written at the end."""
    defaults_for: tyro.conf.Suppress[Callable[..., BridgeTrainerConfig] | None] = None
    """(method, kind of prior, objective) -> the method's defaults."""
    numbers: tyro.conf.Suppress[str] = ""
    """The kind of prior whose defaults were taken for what was not given; empty until a run begins. A
    configuration made in Python that names one stays as it is."""

    def set_timestamp(self) -> None:
        """ns-train calls this first, once the configuration is final: the place to refuse it before
        anything is printed, written or overwritten."""
        with one_line_errors():
            self._check_replay()
            self.settle()
            self.check()
        self._make_paths_absolute()
        super().set_timestamp()

    def _check_replay(self) -> None:
        """A configuration that was loaded begins a run of its own, and is all that nerfstudio listens to."""
        if "load-config" not in (said := typed()):
            return
        if others := sorted(said - {"load-config"}):
            raise UserError(
                f"--{others[0]} changes nothing beside --load-config, which says everything: leave it out, "
                "or take the command in the run's commands.txt and change that"
            )
        if any(self.get_checkpoint_dir().glob("step-*.ckpt")):
            self.timestamp = "{timestamp}"  # nerfstudio's placeholder for now

    def settle(self) -> None:
        """Take the defaults of the prior and the objective that are used for all that was not given: those of
        the registered method belong to its usual prior. A saved configuration stays as it is.

        Raises:
            UserError: No such prior or objective, or something was given to no effect.
        """
        if self.numbers or self.defaults_for is None or (noted := self._noted_numbers()) == "":
            return
        self._check_machine()
        device = self.pipeline.prior_device or self.machine.device_type
        name, _ = resolve_prior(self.pipeline.prior, check_device(device))
        guidance_of(self.pipeline.objective)  # before its defaults are asked for
        flags = given(self, registered(self))
        kind, guess = kind_of(name)
        self.numbers = EARLIER if noted == EARLIER and kind != TOYBOX else kind
        if guess:
            CONSOLE.print(f"note: {guess}", highlight=False, markup=False, soft_wrap=True)
        changed = follow(self, default_config(self), flags | UNRELATED)
        if changed:
            said = f"numbers for {name} and {self.pipeline.objective}: {' '.join(changed)}"
            CONSOLE.print(said, highlight=False, markup=False, soft_wrap=True)
        check_given(self, flags)

    def _noted_numbers(self) -> str | None:
        """The kind of prior against whose numbers the run to resume has noted its own: empty for a run that
        noted them against the registered ones, EARLIER for one before kinds were told apart; None for no
        run."""
        path = checkpoint.chosen(self.load_dir, self.load_step, self.load_checkpoint)
        file = path and path.parent.parent / "config.yml"
        if file is None or not file.is_file():
            return None
        found = re.search(r"^numbers: (\S+)$", file.read_text(errors="replace"), re.MULTILINE)
        noted = found[1] if found else ""
        if noted in ("", EARLIER):
            CONSOLE.print(f"{file} is of an earlier version: its numbers are taken as they were noted")
        return noted

    def _make_paths_absolute(self) -> None:
        """What is noted of the run (config.yml, commands.txt) holds from any folder."""
        for name in ("output_dir", "load_dir", "load_checkpoint"):
            if (path := getattr(self, name)) is not None:
                setattr(self, name, path.absolute())
        folder, _ = resolve_prior(self.pipeline.prior, self.pipeline.prior_device or self.machine.device_type)
        if Path(folder).is_absolute():
            self.pipeline.prior = folder

    def get_checkpoint_dir(self) -> Path:
        """As noted; of a run that was moved, in the current folder under the name of its output folder.

        ns-viewer, ns-render, ns-export and ns-eval look here for a run. One that is trained has its folder.
        """
        noted, base = super().get_checkpoint_dir(), self.get_base_dir()
        moved = Path(self.output_dir.name).absolute() / noted.relative_to(self.output_dir)
        return moved if moved.is_dir() and not base.exists() else noted

    def check(self) -> None:
        """Raises UserError for what is known to be wrong before anything is loaded."""
        prompts = [p for p in (self.prompt, self.pipeline.model.prompt) if p is not None]
        if not prompts or not all(join_prompt(p) for p in prompts):
            raise UserError('the prompt is empty; say what to make, for example --prompt "a pineapple"')
        if self.data is not None or self.pipeline.datamanager.data is not None:
            raise UserError("bridge-distill makes an object from a prompt; leave --data out")
        self.pipeline.datamanager.check()
        check_flags(self, RANGES)
        if (size := self.pipeline.datamanager.eval_resolution) % 2:
            raise UserError(
                f"--pipeline.datamanager.eval-resolution {size} is odd, which no H.264 video can be; "
                f"give {size + 1}"
            )
        self._check_machine()
        self.pipeline.stages()
        self.pipeline.timesteps()
        self.pipeline.model.regularisation()
        self._check_hash_kernel()
        for group in self.optimizers.values():
            if isinstance(scheduler := group["scheduler"], RampSchedulerConfig):
                scheduler.ramp()
        device = self.pipeline.prior_device or self.machine.device_type
        prior = with_revision(self.pipeline.prior, self.pipeline.prior_revision)
        resolved, _ = resolve_prior(prior, check_device(device))
        check_graphs(self.pipeline.prior_graphs, device)
        self._check_words(resolved)
        path = checkpoint.chosen(self.load_dir, self.load_step, self.load_checkpoint)
        begun = checkpoint.read(path)["step"] + 1 if path else 0
        self._check_stages(begun + self.max_num_iterations)

    def _check_hash_kernel(self) -> None:
        field, device = self.pipeline.model.field, torch.device(self.machine.device_type)
        if field.encoding != "hash" or fused(field.hash_kernel, device):
            return
        if field.hash_kernel == "auto" and device.type == "cuda":
            said = f"note: the hash encoding runs in torch, far slower: Triton {without_triton(device)}"
            CONSOLE.print(said, highlight=False, markup=False, soft_wrap=True)

    def _check_stages(self, end: int) -> None:
        """A trial may end before stage two; a preset that did would not be what it is called."""
        try:
            if self.pipeline.stage == "auto":
                self.pipeline.stages().check_reached(end)
        except UserError as error:
            if self.pipeline.objective in SCENE_PRESETS:
                raise
            CONSOLE.print(f"note: {error}", highlight=False, markup=False, soft_wrap=True)

    def _check_words(self, resolved: str) -> None:
        guidance, prompt = self.pipeline, self.pipeline.model.prompt or ""
        check_words(resolved, [prompt, guidance.target_descriptors, guidance.source_descriptors])
        check_words(resolved, [guidance.source_prompt, guidance.negative_prompt])
        for phrase in guidance.view.front_only:
            if phrase.lower() not in prompt.lower():
                raise UserError(
                    f'--pipeline.view.front-only "{phrase}" changes nothing, as the prompt does not say it: '
                    "leave it out"
                )

    def _check_machine(self) -> None:
        machine, there = self.machine, torch.cuda.device_count()
        if machine.device_type == "cuda" and not there:
            raise UserError(
                "there is no CUDA device; use bridge-distill-tiny, or give --machine.device-type cpu, where "
                "Stable Diffusion takes hours"
            )
        if machine.device_type == "cpu" and self.mixed_precision:
            raise UserError(
                "--mixed-precision True changes nothing on a CPU, where nerfstudio trains in float32: "
                "leave it out"
            )
        most = there if machine.device_type == "cuda" else 1
        if machine.num_devices > most:
            raise UserError(
                f"--machine.num-devices {machine.num_devices} is more than there are: with "
                f"--machine.device-type {machine.device_type} give {Range(1, most)}"
            )
        if machine.num_machines > 1 and machine.device_type != "cuda":
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

    def set_experiment_name(self) -> None:
        """A folder name made of the prompt."""
        if self.experiment_name is None:
            self.experiment_name = self.slug()

    def slug(self) -> str:
        """The prompt as a file name."""
        words = re.findall(r"\w+", (self.pipeline.model.prompt or "").lower())
        return "-".join(words)[:60] or "unnamed"

    def print_to_terminal(self) -> None:
        """The command that this configuration amounts to: its hundreds of lines stand in config.yml."""
        self.set_experiment_name()
        CONSOLE.print(
            commands.train(self, default_config(self)), highlight=False, markup=False, soft_wrap=True
        )

    def save_config(self, overwrite: bool = False) -> None:
        """Write config.yml, whole; only where `overwrite` is set over that of an earlier run.

        ns-train calls it before anything is loaded: what may yet turn out wrong must not cost a run its
        configuration. The trainer replaces it once it is set up.
        """
        with one_line_errors():
            file = self.get_base_dir() / "config.yml"
            if overwrite or not file.exists():
                write_atomic(file, yaml.dump(self).encode())


def registered(config: BridgeTrainerConfig) -> TrainerConfig:
    """What the command line of the same method begins with."""
    from nerfstudio.configs.method_configs import all_methods  # at import it would be circular

    return all_methods.get(config.method_name or "", config)


def default_config(config: BridgeTrainerConfig) -> TrainerConfig:
    """What a run of the same method, prior and objective has where nothing else is given; its folder is named
    after the prompt of `config`."""
    if config.numbers and config.defaults_for is not None:
        default = config.defaults_for(config.method_name, config.numbers, config.pipeline.objective)
    else:
        default = registered(config)
    return replace(default, experiment_name=config.slug())


def _trainer() -> type:
    from bridge_nerf.nerf.engine.trainer import BridgeTrainer  # it needs this module

    return BridgeTrainer
