"""nerfstudio's trainer with what it lacks: whole checkpoints, clean errors, results at the end, and a run's
name.

Where nerfstudio 1.1's behaviour is kept: `--max-num-iterations N` after `--load-dir` means N *more* steps.
"""

from __future__ import annotations

from pathlib import Path

import torch
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.engine.trainer import TRAIN_INTERATION_OUTPUT, Trainer
from nerfstudio.utils import comms, writer
from nerfstudio.utils.decorators import check_main_thread
from nerfstudio.utils.rich_utils import CONSOLE

from bridge_nerf.devices import make_current, tune
from bridge_nerf.distillation.diagnostics import ERRORS
from bridge_nerf.errors import UserError
from bridge_nerf.files import add_row, auxiliary, write_atomic
from bridge_nerf.nerf.engine import checkpoint, commands, turntable
from bridge_nerf.nerf.engine.run_config import BridgeTrainerConfig, default_config, one_line_errors
from bridge_nerf.nerf.pipeline import ADAPTER, BridgePipeline
from bridge_nerf.pixels import video


class BridgeTrainer(Trainer):
    """Overrides nerfstudio's documented steps only."""

    config: BridgeTrainerConfig
    pipeline: BridgePipeline
    _saved: tuple[Path, int] | None = None
    """The checkpoint to go on from, and its step."""

    def setup(self, test_mode="val") -> None:
        """As nerfstudio does; then the results at the end and the right time left after a resume."""
        tune(self.device)
        make_current(self.device)
        # ns-train seeds the global generator, other callers may not: the field starts the same for both.
        with one_line_errors(), torch.random.fork_rng():
            torch.manual_seed(self.config.machine.seed)
            super().setup(test_mode)
        self._end_step = self._start_step + self.config.max_num_iterations
        writer.GLOBAL_BUFFER["max_iter"] = self._end_step
        if comms.is_main_process():
            self.callbacks.append(TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN], self._results))
            self.config.save_config(overwrite=True)
            self._note_commands()

    def setup_optimizers(self) -> Optimizers:
        """As nerfstudio does, for an adapter too where the objective asks one."""
        self.pipeline.add_adapter(self.config.machine.seed)
        return super().setup_optimizers()

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

    def train_iteration(self, step: int) -> TRAIN_INTERATION_OUTPUT:
        """As nerfstudio does; the bridge's errors, at the steps that measure them, go to errors.csv too,
        which every run can have: the viewer alone keeps no log."""
        loss, losses, metrics = super().train_iteration(step)
        errors = {name: value.item() for name, value in metrics.items() if name in ERRORS}
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
        try:
            self.pipeline.load_pipeline(state["pipeline"], state["step"])
            known = self.optimizers.optimizers.keys() | (state["optimizers"].keys() - {ADAPTER})
            self.optimizers.load_optimizers({k: v for k, v in state["optimizers"].items() if k in known})
            if self.config.load_scheduler:
                self.optimizers.load_schedulers(state["schedulers"])
            self.grad_scaler.load_state_dict(state["scalers"])
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise checkpoint.foreign(path, error) from error
        self._start_step = state["step"] + 1
        self._saved = (path, state["step"])
        self._keep_errors(path.parent.parent / "errors.csv")
        CONSOLE.print(f"resumed from {path}, after step {state['step']}", highlight=False)

    def _keep_errors(self, earlier: Path) -> None:
        """What was measured before goes along: a resumed run has a folder of its own. Rows of steps that are
        made again go when the first of them is added."""
        here = self.base_dir / "errors.csv"
        if earlier.is_file() and not here.exists() and comms.is_main_process():
            with auxiliary(here):
                write_atomic(here, earlier.read_bytes())

    @check_main_thread
    def save_checkpoint(self, step: int) -> None:
        """Whole or not at all; the older ones go once the new one is there.

        Raises:
            UserError: A parameter is not finite; the last good checkpoint stays.
        """
        pipeline = getattr(self.pipeline, "module", self.pipeline)
        for name, value in pipeline.named_parameters():
            if not torch.isfinite(value).all():
                more = ", or with --pipeline.prior-dtype float32" if pipeline.prior.dtype.itemsize < 4 else ""
                raise UserError(f"step {step}: {name} is not finite; resume with a lower learning rate{more}")
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
        write_atomic(self.base_dir / "commands.txt", ("\n".join(lines) + "\n").encode())

    def _results(self, step: int) -> None:
        """Turntable video and contact sheet beside the checkpoint, and how to go on from here."""
        manager = self.pipeline.datamanager.config
        film, sheet = (self.base_dir / f"turntable.{kind}" for kind in ("mp4", "png"))
        for path in (film, sheet):
            path.unlink(missing_ok=True)  # of the object as it was when an earlier run of this folder ended
        with auxiliary("the turntable"):
            views = self.pipeline.datamanager.turntable(self.config.turntable_frames)
            # A viewer that draws meanwhile would put the model back into training between two frames.
            with self.train_lock:
                frames = turntable.frames(self.pipeline.model, views, manager.eval_resolution)
            with auxiliary(film):
                write_atomic(film, video(frames))
            with auxiliary(sheet):
                shown = frames[:: -(-len(frames) // manager.eval_views)]
                write_atomic(sheet, turntable.contact_sheet(shown))
        self._note_commands()
        for path in (film, sheet, self.base_dir / "commands.txt"):
            if path.exists():
                CONSOLE.print(f"{path.name:<15} {path}", highlight=False, soft_wrap=True)
        print((self.base_dir / "commands.txt").read_text(), flush=True)
