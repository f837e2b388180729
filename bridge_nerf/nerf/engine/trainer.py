"""A run of bridge-distill: its configuration, and nerfstudio's trainer with whole checkpoints, errors of one
line, and results at the end.

As in nerfstudio 1.1, `--max-num-iterations N` after `--load-dir` means N *more* steps.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import tyro
import yaml
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.engine.trainer import TRAIN_INTERATION_OUTPUT, Trainer, TrainerConfig
from nerfstudio.utils import comms, writer
from nerfstudio.utils.decorators import check_main_thread
from nerfstudio.utils.rich_utils import CONSOLE

from bridge_nerf.devices import limit_heaps, make_current, tune
from bridge_nerf.distillation.diagnostics import ERRORS
from bridge_nerf.distillation.registry import guidance_of
from bridge_nerf.errors import UserError
from bridge_nerf.files import add_row, auxiliary, sweep, write_atomic
from bridge_nerf.flags import follow, given, typed
from bridge_nerf.interrupts import Interruption, ended_as_by_ctrl_c, interruptible, say
from bridge_nerf.nerf.engine import checkpoint, commands, saved_config, turntable, validation
from bridge_nerf.nerf.engine import folder as folders
from bridge_nerf.nerf.engine.validation import exit_on_ctrl_c, exit_on_user_error, note
from bridge_nerf.nerf.pipeline import BridgePipeline, BridgePipelineConfig
from bridge_nerf.priors.names import expanded
from bridge_nerf.priors.plugins import KINDS, is_external
from bridge_nerf.priors.registry import kind_of
from bridge_nerf.resuming import fitted

UNRELATED = {"experiment-name", "prior-kind", "defaults-for", "method-name"}
"""Flags on which neither the prior nor the objective decides."""

PATHS = "output_dir", "load_dir", "load_checkpoint"
"""Fields that name a place on the disk."""

DRAWN_WITHIN_S = 10.0
"""Seconds that a picture in the viewer may take to its end."""


@dataclass
class BridgeTrainerConfig(TrainerConfig):
    """A run of bridge-distill."""

    _target: type = field(default_factory=lambda: BridgeTrainer)
    pipeline: BridgePipelineConfig = field(default_factory=BridgePipelineConfig)
    """Cameras, object and guidance."""
    turntable_frames: int = 48
    """Frames of the turntable video written at the end."""
    defaults_for: tyro.conf.Suppress[Callable[..., BridgeTrainerConfig] | None] = None
    """(method, kind of prior, objective) -> the method's defaults."""
    prior_kind: tyro.conf.Suppress[str] = ""
    """Kind of the prior whose defaults were taken for all that was not given; empty until a run begins. A
    configuration made in Python that names one stays as it is."""
    _made = ()
    """Folders that were made for this run; no field, and so in no config.yml."""

    def __post_init__(self) -> None:
        """Check the file of --load-config: nerfstudio reads it next, with a loader that runs what it says."""
        if self.load_config is not None:
            self.load_config = expanded(str(self.load_config))
            with exit_on_user_error():
                saved_config.read(self.load_config, self._registered())

    @contextmanager
    def beginning(self) -> Iterator[None]:
        """Context of what comes before a run's first step: where that fails, or a signal ends it, nothing of
        the run is left, and what the user can mend is SystemExit with one line."""
        with exit_on_ctrl_c(), ended_as_by_ctrl_c():
            try:
                with exit_on_user_error():
                    yield
            except BaseException:
                begun = (self.get_base_dir() / "commands.txt").exists()
                if self._made and comms.is_main_process() and not begun:
                    folders.remove(self._made)
                raise

    def set_timestamp(self) -> None:
        """Check the configuration, take its defaults, and make the run's folder. ns-train calls this first,
        before anything is printed, written or overwritten."""
        self._made = ()
        with self.beginning():
            self._check_replay()
            for name in PATHS:
                if (path := getattr(self, name)) is not None:
                    setattr(self, name, expanded(str(path)))
            self.settle()
            self.check()
            self._make_paths_absolute()
            chosen = self.timestamp != "{timestamp}"
            super().set_timestamp()
            for folder in filter(Path.is_dir, self.get_base_dir().parent.glob("*")):
                sweep(folder)
            self._make_folder(chosen)

    def _make_folder(self, chosen: bool) -> None:
        """Make the run's folder, where that of an earlier run was not chosen; of two runs that begin in the
        same second the later has another name."""
        now, count = self.timestamp, 1
        while not self._made:
            try:
                self._made = folders.make(self.get_base_dir())
            except FileExistsError:
                if not self.get_base_dir().exists():  # a file lies where its parent would be
                    raise
                if chosen:
                    return
                count += 1
                self.timestamp = f"{now}_{count}"

    def _check_replay(self) -> None:
        """A configuration that was loaded begins a run of its own, and is all that nerfstudio listens to."""
        if "load-config" not in (written := typed()):
            return
        if others := sorted(written - {"load-config"}):
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
            UserError: No such method, prior or objective, or something was given to no effect.
        """
        if self.prior_kind not in ("", *KINDS) or self._registered() is self:
            raise UserError(
                f'no method "{self.method_name}" with numbers for a prior of the kind "{self.prior_kind}"; '
                "take the command in the run's commands.txt instead of its config.yml"
            )
        if self.prior_kind or self.defaults_for is None:
            return
        validation.check_machine(self.machine, self.mixed_precision)
        name, _ = self.pipeline.prior.resolve(self.machine.device_type)
        guidance_of(self.pipeline.objective)  # raises for an unknown one, before its defaults are asked for
        explicit = given(self, self._registered())
        if explicit.isdisjoint({"prompt", "pipeline.model.prompt"}):
            note(
                f'note: without --prompt this makes "{self.pipeline.model.prompt}"; say what to make, as in '
                '--prompt "a red car"'
            )
        self.prior_kind, guess = kind_of(name)
        if guess:
            note(f"note: {guess}")
        if changed := follow(self, self.default(), explicit | UNRELATED):
            note(f"numbers for {name} and {self.pipeline.objective}: {' '.join(changed)}")
        if is_external(name) and "pipeline.prior.checkpointing" not in explicit:
            self.pipeline.prior.checkpointing = False  # of pipelines of Diffusers
        validation.check_effective(self, self.pipeline, explicit)

    def default(self) -> TrainerConfig:
        """The configuration of a run of the same method, prior and objective where nothing else is given, in
        a folder named after this prompt."""
        usual = self._registered()
        if self.prior_kind and self.defaults_for is not None:
            usual = self.defaults_for(self.method_name, self.prior_kind, self.pipeline.objective)
        return replace(usual, experiment_name=self.slug())

    def _registered(self) -> TrainerConfig:
        """The configuration with which the method's command line begins."""
        from nerfstudio.configs.method_configs import all_methods  # at import it would be circular

        return all_methods.get(self.method_name or "", self)

    def check(self) -> None:
        """Raises UserError for what is known to be wrong before anything is loaded."""
        validation.check(self, self.pipeline)

    def _make_paths_absolute(self) -> None:
        """Make what is noted of the run (config.yml, commands.txt) hold from any folder.

        nerfstudio's commands take a noted --load-step for one of the run's own checkpoints: the file to go on
        from is named instead.
        """
        self.output_dir = self.output_dir.absolute()
        path = checkpoint.chosen(self.load_dir, self.load_step, self.load_checkpoint)
        self.load_dir = self.load_step = None
        self.load_checkpoint = path and path.absolute()
        folder, _ = self.pipeline.prior.resolve(self.machine.device_type)
        if Path(folder).is_absolute():
            self.pipeline.prior.name = folder

    def get_checkpoint_dir(self) -> Path:
        """The folder as noted; that of a run that was moved, in the current folder under the name of its
        output folder.

        ns-viewer, ns-render, ns-export and ns-eval look here for a run. One that is trained has its folder.
        """
        noted, base = super().get_checkpoint_dir(), self.get_base_dir()
        moved = Path(self.output_dir.name).absolute() / noted.relative_to(self.output_dir)
        return moved if moved.is_dir() and not base.exists() else noted

    def set_experiment_name(self) -> None:
        """Name the run's folder after the prompt, where it has no name."""
        if self.experiment_name is None:
            self.experiment_name = self.slug()

    def slug(self) -> str:
        """The prompt as a file name."""
        words = re.findall(r"\w+", (self.pipeline.model.prompt or "").lower())
        return "-".join(words)[:60] or "unnamed"

    def print_to_terminal(self) -> None:
        """Print the command that this configuration amounts to; its hundreds of lines stand in config.yml."""
        with self.beginning():
            self.set_experiment_name()
            note(commands.train(self, self.default()))

    def save_config(self) -> None:
        """Make the run's folder, where there is none. ns-train calls it before anything is loaded, and what
        may yet turn out wrong must not cost an earlier run its config.yml: the trainer writes it once it is
        set up."""
        with self.beginning():
            self._make_folder(chosen=True)

    def write(self) -> None:
        """Write config.yml, whole."""
        noted = copy(self)
        vars(noted).pop("_made", None)
        write_atomic(self.get_base_dir() / "config.yml", yaml.dump(noted).encode())


class BridgeTrainer(Trainer):
    """nerfstudio's trainer, with its documented steps overridden only."""

    config: BridgeTrainerConfig
    pipeline: BridgePipeline
    _saved: tuple[Path, int] | None = None
    """The checkpoint to go on from, and its step."""
    _made: int | None = None
    """The step that was made last; None before the first."""
    _closed: bool = False
    """True from `shutdown` on."""

    def __init__(self, config: BridgeTrainerConfig, local_rank: int = 0, world_size: int = 1) -> None:
        self._interruption = Interruption()
        with config.beginning():
            super().__init__(config, local_rank, world_size)

    def setup(self, test_mode="val") -> None:
        """Set up as nerfstudio does, for results at the end and the right time left after a resume."""
        with self.config.beginning(), torch.random.fork_rng():
            tune(self.device)
            make_current(self.device)
            if self.config.is_viewer_enabled():
                limit_heaps()
            # ns-train seeds the global generator, other callers may not: the field starts the same for both.
            torch.manual_seed(self.config.machine.seed)
            super().setup(test_mode)
            self._end_step = self._start_step + self.config.max_num_iterations
            writer.GLOBAL_BUFFER["max_iter"] = self._end_step
            at = TrainingCallbackLocation
            self.callbacks.append(TrainingCallback([at.BEFORE_TRAIN_ITERATION], self._apply_settings))
            if comms.is_main_process():
                self.callbacks.append(TrainingCallback([at.AFTER_TRAIN], self._results))
                self.config.write()
                self._note_commands()

    def setup_optimizers(self) -> Optimizers:
        """Load the prior first: the adapter of an objective that has one is optimised too."""
        self.pipeline.setup_guidance(self.config.machine.seed, comms.get_rank())
        return super().setup_optimizers()

    def _apply_settings(self, step: int) -> None:
        """Take over what was applied in the viewer, and note it; the steps before are not made again with
        it."""
        if self.pipeline.apply_settings(step) and comms.is_main_process():
            self.config.write()
            if self._made is not None:
                self.save_checkpoint(self._made)
            self._note_commands()

    def train(self) -> None:
        """Train as nerfstudio does, and close the viewer.

        The first Ctrl-C, SIGTERM or SIGHUP ends a run after its step, whose checkpoint is kept, and the
        second at once; the run says how it is resumed. One of several processes would wait for the others'
        gradients for ever: those are ended at once.
        """
        alone = self.world_size == 1
        asked = interruptible(self._told) if alone else nullcontext(Interruption())
        with exit_on_ctrl_c(), ended_as_by_ctrl_c(), asked as self._interruption:
            try:
                with exit_on_user_error():
                    try:
                        super().train()
                    finally:
                        self.shutdown()
            except (SystemExit, KeyboardInterrupt):
                note(f"\nto {'start again' if self._saved is None else 'resume'}:\n{self._resume()}")
                raise

    def _told(self, interruption: Interruption) -> None:
        """Say what the first signal does; it ends a run at once of which all steps are saved."""
        if self._saved is not None and self._saved[1] == self._end_step - 1:
            raise KeyboardInterrupt
        by_hand = interruption.number == signal.SIGINT
        what = "checkpoint and turntable" if by_hand else "the checkpoint"
        say(f"stopping after this step: saving {what}; Ctrl-C{' again' * by_hand} stops at once")

    @property
    def stop_training(self) -> bool:
        """True where training is to end after its step. nerfstudio looks at it also while it is paused."""
        return self._closed or self._interruption.is_set()

    @stop_training.setter
    def stop_training(self, value: bool) -> None:
        """Nothing: nerfstudio sets it when it begins, which takes nothing back that was asked for before."""

    def eval_iteration(self, step: int) -> None:
        """Evaluate as nerfstudio does, which may take long, unless training is to end."""
        if not self.stop_training:
            super().eval_iteration(step)

    def _after_train(self) -> None:
        """Save the last step that was made, which nerfstudio's own count may be one ahead of, and end as
        nerfstudio does or, where a signal asked for it, without waiting for anything."""
        if self._made is not None:
            self.step = self._made
            if self._interruption.is_set():
                self.save_checkpoint(self.step)
                self._stop()
            super()._after_train()
        elif self._interruption.is_set():
            self._apply_settings(self._start_step)  # of someone who pressed Apply before the first step
            raise SystemExit(130)

    def _stop(self) -> None:
        """Write what an interrupted run leaves beside its checkpoint, and raise SystemExit."""
        self._apply_settings(self.step + 1)  # of someone who pressed Apply while training was paused
        self.training_state = "completed"  # whoever presses from here on is told that no step comes
        kept = [self.checkpoint_dir / f"step-{self.step:09d}.ckpt"]
        if self._interruption.number == signal.SIGINT:
            kept += self._write_turntable()
        names = ", ".join(path.name for path in kept)
        note(f"\nstopped after {self.step + 1} of {self._end_step} steps; {self.base_dir} keeps {names}")
        raise SystemExit(130)

    def shutdown(self) -> None:
        """Stop training, and the viewer with the threads that draw for its visitors: one that still draws
        while the interpreter ends would abort the process. A second call, as at the end of a training that
        another thread has shut down, waits for the threads alone."""
        closed, self._closed = self._closed, True
        drawing = list(getattr(self.viewer_state, "render_statemachines", {}).values())
        for thread in drawing:
            thread.running, thread.interrupt_render_flag = False, True
        for thread in drawing:
            thread.join(DRAWN_WITHIN_S)
        if not closed:
            super().shutdown()

    def train_iteration(self, step: int) -> TRAIN_INTERATION_OUTPUT:
        """Make a step as nerfstudio does; the bridge's errors, where they are measured, go to errors.csv too:
        the viewer alone keeps no log."""
        loss, losses, metrics = super().train_iteration(step)
        self._made = step
        errors = {name: value for name, value in metrics.items() if name in ERRORS}
        if errors and comms.is_main_process():
            path = self.base_dir / "errors.csv"
            with auxiliary(path):
                add_row(path, {"step": step, **errors})
        return loss, losses, metrics

    def _load_checkpoint(self) -> None:
        path = checkpoint.chosen(self.config.load_dir, self.config.load_step, self.config.load_checkpoint)
        if path is None:
            return
        state = checkpoint.read(path)
        own = checkpoint.after_a_step(self.config.optimizers, self.pipeline.get_param_groups())
        scaled = self.grad_scaler.is_enabled()
        try:
            training = checkpoint.fitted_training(state, own, checkpoint.begun(state, self.config))
            scalers = fitted(state["scalers"], self.grad_scaler.state_dict(), "scalers") if scaled else {}
            self.pipeline.load_pipeline(state["pipeline"], state["step"])
        except UserError as error:
            raise checkpoint.foreign(path, error) from error
        self.optimizers.load_optimizers(training["optimizers"])
        if self.config.load_scheduler:
            self.optimizers.load_schedulers(training["schedulers"])
        self.grad_scaler.load_state_dict(scalers)
        self._start_step = state["step"] + 1
        self._saved = (path, state["step"])
        self._keep_errors(path.parent.parent / "errors.csv")
        CONSOLE.print(f"resumed from {path}, after step {state['step']}", highlight=False)

    def _keep_errors(self, earlier: Path) -> None:
        """Copy what was measured before: a resumed run has a folder of its own. Rows of steps that are made
        again go when the first of them is added."""
        here = self.base_dir / "errors.csv"
        if earlier.is_file() and not here.exists() and comms.is_main_process():
            with auxiliary(here):
                write_atomic(here, earlier.read_bytes())

    @check_main_thread
    def save_checkpoint(self, step: int) -> None:
        """Save a checkpoint, whole or not at all; older ones go once it is there.

        Raises:
            UserError: A parameter is not finite; the last good checkpoint stays.
        """
        path = self.checkpoint_dir / f"step-{step:09d}.ckpt"
        pipeline = getattr(self.pipeline, "module", self.pipeline)
        pipeline.check_finite(step)
        state: checkpoint.State = {
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
        config, default = self.config, self.config.default()
        differing = [flag for flag, _ in commands.differences(config, default)]
        idle = validation.ineffective(config, config.pipeline, differing)
        if self._saved is None:
            return commands.train(config, default, idle)
        path, step = self._saved
        left = self._end_step - 1 - step
        return commands.resume(config, default, path, step, left or config.max_num_iterations, idle)

    def _note_commands(self) -> None:
        """Keep `commands.txt` true: also after a SIGKILL it says how to go on, with what there is."""
        config_file = self.base_dir / "config.yml"
        lines = [f"{'start ' if self._saved is None else 'resume'}  {self._resume()}"]
        if any(self.checkpoint_dir.glob("step-*.ckpt")):
            lines = [
                f"view    {commands.viewer(config_file)}",
                *lines,
                f"render  {commands.render(self.base_dir)}",
                f"export  {commands.export(self.base_dir)}",
            ]
        write_atomic(self.base_dir / "commands.txt", ("\n".join(lines) + "\n").encode())

    def _write_turntable(self) -> list[Path]:
        """Write turntable video and contact sheet into the run's folder; answers those that could be made."""
        files = [self.base_dir / name for name in turntable.FILES]
        for path in files:
            path.unlink(missing_ok=True)  # of the object as it was when an earlier run of this folder ended
        with auxiliary("the turntable"):
            manager = self.pipeline.datamanager
            orbit = manager.turntable(self.config.turntable_frames)
            # A viewer that draws meanwhile would put the model back into training between two frames.
            with self.train_lock:
                frames = turntable.frames(self.pipeline.model, orbit, manager.config.eval_resolution)
            turntable.write(self.base_dir, frames, manager.config.eval_cameras)
        return [path for path in files if path.exists()]

    def _results(self, step: int) -> None:
        """Write the turntable, and print how to go on from here."""
        if self._interruption.is_set():  # while the last step was saved
            self._stop()
        noted = self.base_dir / "commands.txt"
        for path in (*self._write_turntable(), noted):
            CONSOLE.print(f"{path.name:<15} {path}", highlight=False, soft_wrap=True)
        print(noted.read_text(), flush=True)
