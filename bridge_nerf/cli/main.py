"""The entry point: which command it is, and errors in one line."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import tyro

from bridge_nerf.cli.diagnostics import PlotErrors
from bridge_nerf.cli.doctor import Doctor
from bridge_nerf.cli.evaluate import Evaluate
from bridge_nerf.cli.images import Batch, Compare, Illusion, Image, Paint, Reproduce
from bridge_nerf.cli.ranges import RANGES
from bridge_nerf.cli.scenes import Export, Render
from bridge_nerf.cli.toybox import EvaluateToybox, SamplePrior, TrainToybox
from bridge_nerf.errors import UserError, printable, want_of_memory
from bridge_nerf.extras import required
from bridge_nerf.flags import check_flags
from bridge_nerf.interrupts import ended_as_by_ctrl_c

Command = (
    Annotated[Image, tyro.conf.subcommand("image")]
    | Annotated[Paint, tyro.conf.subcommand("paint")]
    | Annotated[Illusion, tyro.conf.subcommand("illusion")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Batch, tyro.conf.subcommand("batch")]
    | Annotated[Reproduce, tyro.conf.subcommand("reproduce")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Render, tyro.conf.subcommand("render")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[TrainToybox, tyro.conf.subcommand("train-toybox")]
    | Annotated[EvaluateToybox, tyro.conf.subcommand("evaluate-toybox")]
    | Annotated[PlotErrors, tyro.conf.subcommand("plot-errors")]
    | Annotated[SamplePrior, tyro.conf.subcommand("sample")]
    | Annotated[Doctor, tyro.conf.subcommand("doctor")]
)


def main() -> None:
    """Entry point; what the user did wrong is one line on stderr and exit code 1, as is the end by a signal
    (Ctrl-C, SIGTERM, SIGHUP).
    """
    # On a busy machine threads that spin while they wait triple the time of an image. Torch reads this when
    # it is imported: later.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    about = "Score distillation as a Schrodinger bridge."
    command = tyro.cli(Command, prog="bridge-nerf", description=about)  # type: ignore[arg-type]
    try:
        check_flags(getattr(command, "subject", command), RANGES)
        with ended_as_by_ctrl_c(), required("bridge-nerf"):
            command.run()
    except UserError as error:
        sys.exit(f"bridge-nerf: {error}")
    except OSError as error:
        where = f"{error.filename or 'a file'}: {error.strerror or error}"
        sys.exit(f"bridge-nerf: {printable(where)}; free it or choose another place")
    except (RuntimeError, MemoryError) as error:
        if (reason := want_of_memory(error)) is None:
            raise
        smaller = "ask for a smaller --size or --resolution, or for fewer at once"
        sys.exit(f"bridge-nerf: not enough memory ({reason}); {smaller}")
    except KeyboardInterrupt:
        sys.exit("bridge-nerf: interrupted; the same command goes on from what was saved")
