"""The line in the terminal."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from bridge_nerf.errors import UserError
from bridge_nerf.images.generation import Progress, generate
from bridge_nerf.images.progress import Bar
from bridge_nerf.images.run import optimise_images
from bridge_nerf.images.spec import subjects_for
from tests.images.conftest import SPEC


def progress_of(prior, done: int, metrics: dict[str, float]) -> Progress:
    """The progress of a run of 12 steps, with these numbers."""
    first = next(generate([SPEC], prior))
    first.modules[0].metrics = metrics
    return replace(first, done=done)


def test_the_line_says_how_far_how_long_still_and_the_loss(prior):
    console = Console(width=120, force_terminal=True, record=True)
    with Bar(console) as bar:
        show = bar.of("optimising")
        for done in range(1, 10):
            show(progress_of(prior, done, {"stage": 2.0, "loss": 0.125 * done}))
    line = console.export_text().strip().splitlines()[-1]
    assert "optimising" in line and "9/12" in line and "stage 2  loss 1.125" in line
    assert " left 0:00:0" in line or " left -:--:--" in line


def test_several_runs_have_a_line_each(prior):
    console = Console(width=120, force_terminal=True, record=True)
    with Bar(console) as bar:
        for name in ("sds", "bridge"):
            bar.of(name)(progress_of(prior, 12, {"stage": 1.0, "loss": 1.0}))
    last = console.export_text().rsplit("sds", 1)[1]
    assert "12/12" in last and "bridge" in last


def seen(written: str) -> list[str]:
    """The lines that a terminal shows after it was written to, as far as rich moves in it."""
    lines, row = [""], 0
    for code, text in re.findall(r"(\x1b\[[?\d;]*[A-Za-z]|[\r\n])|([^\x1b\r\n]+)", written):
        if code == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif code == "\x1b[1A":
            row -= 1
        elif code == "\x1b[2K":
            lines[row] = ""
        lines[row] += text
    return [line for line in lines if line]


@pytest.mark.parametrize("terminal", [True, False])
def test_what_is_refused_before_its_first_step_leaves_no_line(prior, tmp_path, terminal):
    out = io.StringIO()
    console = Console(width=120, force_terminal=terminal, file=out)
    spec = replace(SPEC, subjects=subjects_for(("a xylophone",), 3, 1))
    with pytest.raises(UserError, match="xylophone"), Bar(console) as bar:
        bar.of("earlier")
        optimise_images(spec, tmp_path / "run", prior, on_step=bar.of("optimising"))
    assert seen(out.getvalue()) == [] and (terminal or out.getvalue() == "")


def test_a_run_that_ends_early_keeps_its_line(prior):
    out = io.StringIO()
    console = Console(width=120, force_terminal=True, file=out)
    with pytest.raises(UserError, match="not finite"), Bar(console) as bar:
        show = bar.of("optimising")
        show(progress_of(prior, 3, {"stage": 1.0, "loss": 1.0}))
        raise UserError("the loss is not finite")
    (line,) = seen(out.getvalue())
    assert "3/12" in line
