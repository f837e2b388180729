"""The command that plots the paper's two errors."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import tyro

from bridge_nerf.errors import UserError


@dataclass
class PlotErrors:
    """Plot the two errors of the bridge over a run that has measured them, and print their means.

    Text to 3D measures with --pipeline.errors-every 25, an image with --errors-every 25.
    """

    folder: tyro.conf.Positional[Path]
    """Folder of the run, or its CSV file."""
    out: Path | None = None
    """The plot's file (svg); by default errors.svg in the folder."""

    def run(self) -> None:
        from bridge_nerf.evaluation.diagnostics import log_of, read_errors, source_rows, write_plot
        from bridge_nerf.evaluation.table import text_table

        series = read_errors(self.folder)
        beside = self.folder.parent if self.folder.is_file() else self.folder
        out = self.out or beside / "errors.svg"
        # Path.resolve raises for a circle of links.
        if os.path.realpath(out) == os.path.realpath(log_of(self.folder)):
            raise UserError(f"--out {out} is the log itself; name another file")
        write_plot(series, out, str(self.folder))
        print(text_table(source_rows(series)))
        print(f"wrote {out}")
