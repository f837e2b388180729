import pytest
from nerfstudio.configs import base_config  # before its writer module: they import each other

from bridge_nerf.nerf.engine.progress import ProgressConfig, ProgressWriter, clock

writer = base_config.writer


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "0 min 00 s"), (94, "1 min 34 s"), (3600, "1 h 00 min"), (7384, "2 h 03 min"), (-1, "0 min 00 s")],
)
def test_clock(seconds: float, said: str) -> None:
    assert clock(seconds) == said


def test_the_time_left_counts_from_the_resumed_step(capsys) -> None:
    writer.GLOBAL_BUFFER["max_iter"] = 500
    progress = ProgressWriter(ProgressConfig(seconds=0.0), ["Viewer at somewhere"])
    writer.EVENT_STORAGE.append({"name": "Train Iter (time)", "event": 0.5, "step": 399})
    progress.write_stats_log(399)
    assert capsys.readouterr().out.splitlines() == [
        "Viewer at somewhere",
        "step 400/500   80%  0.50 s a step  0 min 50 s left".ljust(0),
    ]


def test_lines_are_rare_in_a_log_file(capsys) -> None:
    writer.GLOBAL_BUFFER["max_iter"] = 100
    progress = ProgressWriter(ProgressConfig(seconds=60.0))
    for step in range(100):
        writer.EVENT_STORAGE[:] = [{"name": "Train Iter (time)", "event": 0.1, "step": step}]
        progress.write_stats_log(step)
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["1/100", "100/100"]
