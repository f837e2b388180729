"""The line in the terminal."""

from __future__ import annotations

from rich.console import Console

from bridge_nerf.images.module import ImageModule, Progress
from bridge_nerf.images.progress import Bar
from tests.images.conftest import SPEC


def test_the_line_says_how_far_how_long_still_and_the_loss(prior):
    module, console = ImageModule(SPEC, prior), Console(width=120, force_terminal=True, record=True)
    with Bar(console) as bar:
        show = bar.of("optimising")
        for done in range(1, 10):
            show(Progress(done, 12, {"stage": 2.0, "loss": 0.125 * done}, module))
    line = console.export_text().strip().splitlines()[-1]
    assert "optimising" in line and "9/12" in line and "stage 2  loss 1.125" in line
    assert " left 0:00:0" in line or " left -:--:--" in line


def test_several_runs_have_a_line_each(prior):
    module, console = ImageModule(SPEC, prior), Console(width=120, force_terminal=True, record=True)
    with Bar(console) as bar:
        for name in ("sds", "bridge"):
            bar.of(name)(Progress(12, 12, {"stage": 1.0, "loss": 1.0}, module))
    last = console.export_text().rsplit("sds", 1)[1]
    assert "12/12" in last and "bridge" in last
