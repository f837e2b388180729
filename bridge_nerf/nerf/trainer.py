"""nerfstudio's trainer with what it lacks: whole checkpoints, clean errors, results at the end, and a run's name.

Where nerfstudio 1.1's behaviour is kept: `--max-num-iterations N` after `--load-dir` means N *more* steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation
from nerfstudio.engine.trainer import Trainer, TrainerConfig
from nerfstudio.utils import comms, writer
from nerfstudio.utils.decorators import check_main_thread
from nerfstudio.utils.rich_utils import CONSOLE

from bridge_nerf.errors import UserError
from bridge_nerf.nerf import checkpoint, commands, turntable
from bridge_nerf.nerf.pipeline import BridgePipeline, BridgePipelineConfig
from bridge_nerf.priors.registry import resolve_prior


@contextmanager
def one_line_errors() -> Iterator[None]:
    """What the user can mend ends the command with one line and exit code 1, without a traceback."""
    try:
        yield
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        raise SystemExit(f"error: cannot write{where}: {error.strerror}; free it or choose another --output-dir") from None


@dataclass
class BridgeTrainerConfig(TrainerConfig):
    """A run of bridge-distill."""

    _target: type = field(default_factory=lambda: BridgeTrainer)
    pipeline: BridgePipelineConfig = field(default_factory=BridgePipelineConfig)
    """Cameras, object and guidance."""
    turntable_frames: int = 48
    """Frames of the turntable video written at the end."""

    def set_timestamp(self) -> None:
        """ns-train calls this first, once the configuration is final: the place to refuse it before anything is
        printed, written or overwritten."""
        with one_line_errors():
            self.check()
        super().set_timestamp()

    def check(self) -> None:
        """Raises UserError for what is known to be wrong before anything is loaded."""
        prompts = [p for p in (self.prompt, self.pipeline.model.prompt) if p is not None]
        if not prompts or not all(p.strip() for p in prompts):
            raise UserError('the prompt is empty; say what to make, for example --prompt "a pineapple"')
        if self.data is not None or self.pipeline.datamanager.data is not None:
            raise UserError("bridge-distill makes an object from a prompt; leave --data out")
        counts = {
            "max-num-iterations": self.max_num_iterations,
            "steps-per-save": self.steps_per_save,
            "turntable-frames": self.turntable_frames,
            "pipeline.datamanager.views": self.pipeline.datamanager.views,
            "pipeline.datamanager.train-resolution": self.pipeline.datamanager.train_resolution,
            "pipeline.datamanager.eval-resolution": self.pipeline.datamanager.eval_resolution,
            "pipeline.datamanager.eval-views": self.pipeline.datamanager.eval_views,
            "pipeline.model.samples": self.pipeline.model.samples,
            "pipeline.model.eval-samples": self.pipeline.model.eval_samples,
        }
        for flag, count in counts.items():
            if count < 1:
                raise UserError(f"--{flag} {count} makes no sense; give a number from 1 on")
        if self.machine.device_type == "cuda" and not torch.cuda.is_available():
            raise UserError("there is no CUDA device; give --machine.device-type cpu")
        self.pipeline.stages()
        self.pipeline.timesteps()
        resolve_prior(self.pipeline.prior, self.machine.device_type)
        if path := checkpoint.chosen(self.load_dir, self.load_step, self.load_checkpoint):
            checkpoint.read(path)

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
        CONSOLE.print(commands.train(self, default_config(self)), highlight=False, markup=False, soft_wrap=True)

    def save_config(self) -> None:
        """As nerfstudio does, with a clear word where it is not possible."""
        with one_line_errors():
            super().save_config()


def default_config(config: BridgeTrainerConfig) -> TrainerConfig:
    """The registered configuration of the same method, its folder named after the prompt of `config`."""
    from nerfstudio.configs.method_configs import all_methods  # at import it would be circular

    return replace(all_methods.get(config.method_name or "", config), experiment_name=config.slug())


class BridgeTrainer(Trainer):
    """Overrides nerfstudio's documented steps only."""

    config: BridgeTrainerConfig
    pipeline: BridgePipeline
    _saved: tuple[Path, int] | None = None
    """The checkpoint to go on from, and its step."""

    def setup(self, test_mode="val") -> None:
        """As nerfstudio does; then the results at the end and the right time left after a resume."""
        with one_line_errors():
            super().setup(test_mode)
        self._end_step = self._start_step + self.config.max_num_iterations
        writer.GLOBAL_BUFFER["max_iter"] = self._end_step
        if comms.is_main_process():
            self.callbacks.append(TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN], self._results))
            self._note_commands()

    def train(self) -> None:
        """As nerfstudio does; an interrupted run says how it is resumed."""
        try:
            with one_line_errors():
                super().train()
        except (SystemExit, KeyboardInterrupt) as stop:
            CONSOLE.print(f"\nto resume:\n{self._resume()}", highlight=False, markup=False, soft_wrap=True)
            if isinstance(stop, KeyboardInterrupt):
                raise SystemExit(130) from None
            raise

    def _load_checkpoint(self) -> None:
        path = checkpoint.chosen(self.config.load_dir, self.config.load_step, self.config.load_checkpoint)
        if path is None:
            return
        state = checkpoint.read(path)
        try:
            self.pipeline.load_pipeline(state["pipeline"], state["step"])
            self.optimizers.load_optimizers(state["optimizers"])
            if self.config.load_scheduler:
                self.optimizers.load_schedulers(state["schedulers"])
            self.grad_scaler.load_state_dict(state["scalers"])
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise checkpoint.foreign(path, error) from error
        self._start_step = state["step"] + 1
        self._saved = (path, state["step"])
        CONSOLE.print(f"resumed from {path}, after step {state['step']}", highlight=False)

    @check_main_thread
    def save_checkpoint(self, step: int) -> None:
        """Whole or not at all; the older ones go once the new one is there.

        Raises:
            UserError: A parameter is not finite; the last good checkpoint stays.
        """
        pipeline = getattr(self.pipeline, "module", self.pipeline)
        for name, value in pipeline.named_parameters():
            if not torch.isfinite(value).all():
                raise UserError(f"step {step}: {name} is not finite; resume with a lower learning rate")
        path = self.checkpoint_dir / f"step-{step:09d}.ckpt"
        state = {
            "step": step,
            "pipeline": pipeline.state_dict(),
            "optimizers": {name: o.state_dict() for name, o in self.optimizers.optimizers.items()},
            "schedulers": {name: s.state_dict() for name, s in self.optimizers.schedulers.items()},
            "scalers": self.grad_scaler.state_dict(),
        }
        checkpoint.save(path, state)
        # In this order there is no moment at which the noted command names a checkpoint that is not there.
        self._saved = (path, step)
        self._note_commands()
        if self.config.save_only_latest_checkpoint:
            for older in self.checkpoint_dir.glob("step-*.ckpt"):
                if older != path:
                    older.unlink()

    def _resume(self) -> str:
        """The command that goes on from here: to the planned end or, past it, as far again."""
        default = default_config(self.config)
        if self._saved is None:
            return commands.train(self.config, default)
        path, step = self._saved
        left = self._end_step - 1 - step
        return commands.resume(self.config, default, path, step, left or self.config.max_num_iterations)

    def _note_commands(self) -> None:
        """Keep `commands.txt` true: also after a SIGKILL it says how to go on."""
        config_file = self.base_dir / "config.yml"
        lines = [
            f"view    {commands.view(config_file)}",
            f"resume  {self._resume()}",
            f"render  {commands.render(config_file)}",
        ]
        checkpoint.write_whole(self.base_dir / "commands.txt", ("\n".join(lines) + "\n").encode())

    def _results(self, step: int) -> None:
        """Turntable video and contact sheet beside the checkpoint, and how to go on from here."""
        manager = self.pipeline.datamanager.config
        views = self.pipeline.datamanager.turntable(self.config.turntable_frames)
        frames = turntable.frames(self.pipeline.model, views, manager.eval_resolution)
        results = {
            "turntable.mp4": turntable.video(frames),
            "turntable.png": turntable.contact_sheet(frames[:: -(-len(frames) // manager.eval_views)]),
        }
        for name, data in results.items():
            checkpoint.write_whole(self.base_dir / name, data)
        self._note_commands()
        for name in (*results, "commands.txt"):
            CONSOLE.print(f"{name:<15} {self.base_dir / name}", highlight=False, soft_wrap=True)
        print((self.base_dir / "commands.txt").read_text(), flush=True)
