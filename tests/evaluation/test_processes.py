"""Scenes made several at a time: answered in order, kept, and a failure is one line."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import torch

from bridge_nerf.errors import UserError
from bridge_nerf.evaluation.kept import KeptScenes, Run, Scene
from bridge_nerf.evaluation.processes import finished
from tests.evaluation.drawn import drawn


def test_several_processes_answer_in_order(tmp_path, capsys):
    runs = [Run("sds", "duck", seed) for seed in (1, 2, 3)]
    kept = KeptScenes(tmp_path / "views", {run: {} for run in runs})
    kept.write(runs[1], Scene(torch.zeros(2, 3, 4, 4), 1.0))
    answers = list(finished(kept, drawn, 2, tmp_path / "logs"))
    assert [run for run, _ in answers] == runs
    assert [round(scene.views.max().item() * 255) for _, scene in answers] == [1, 0, 3], "the second was kept"
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" by ")[0] for line in lines] == ["sds-duck-1", "sds-duck-3"]
    pids = {line.split(" by ")[1].split()[0] for line in lines}
    assert len(pids) == 2 and str(os.getpid()) not in pids and {line[-8:] for line in lines} == {"1 thread"}


@pytest.mark.parametrize(
    "toy, said",
    [
        ("mug", "sds-mug-2: no room$"),
        ("lamp", "sds-lamp-2: a bad flag$"),
        ("cake", "sds-cake-2: ZeroDivisionError: a bug; all of it is in .*sds-cake-2.log"),
        ("tree", r"sds-tree-2 ended without a word \(exit code 9\); its output is in .*sds-tree-2.log"),
    ],
)
def test_a_run_that_fails_is_one_line_and_takes_nothing_along(toy, said, tmp_path):
    runs = [Run("sds", "duck", 1), Run("sds", toy, 2)]
    kept, done = KeptScenes(tmp_path / "views", {run: {} for run in runs}), []
    with pytest.raises(UserError, match=said):
        for run, _ in finished(kept, drawn, 2, tmp_path / "logs"):
            done.append(run)
    assert done == runs[:1] and kept.missing() == runs[1:]
    assert ("Traceback" in (tmp_path / "logs" / f"sds-{toy}-2.log").read_text()) == (toy == "cake")


def test_who_stops_listening_ends_what_is_under_way(tmp_path):
    runs = [Run("sds", toy, 2) for toy in ("duck", "carrot", "apple")]
    kept = KeptScenes(tmp_path / "views", {run: {} for run in runs})
    scenes, begin = finished(kept, drawn, 2, tmp_path / "logs"), time.monotonic()
    assert next(scenes)[0] == runs[0]
    scenes.close()
    assert time.monotonic() - begin < 300 and runs[1] in kept.missing()


def test_kept_views_are_square(tmp_path):
    run = Run("sds", "duck", 1)
    kept = KeptScenes(tmp_path, {run: {}})
    np.savez(kept.path(run), views=np.zeros((1, 3, 5, 7), np.uint8), seconds=1.0, identity=np.array("{}"))
    with pytest.raises(UserError, match=r"holds no views but \[1, 3, 5, 7\] numbers; remove it"):
        kept.read(run)
