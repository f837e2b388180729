"""What a run measured of the bridge's errors: read, averaged, plotted."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from bridge_nerf.errors import UserError
from bridge_nerf.evaluation.diagnostics import plot, read_errors, smoothed, source_rows, write_plot
from bridge_nerf.files import add_row


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Ten measurements of the null prompt, five of the source prompt."""
    for k in range(10):
        row = {"step": 20 * k, "loss": 7, "first_order_null": k, "mismatch_null": 0.5}
        also = {"first_order_source": 2.0, "mismatch_source": 1.0} if k % 2 else {}
        add_row(tmp_path / "errors.csv", row | also)
    return tmp_path


def test_means_of_every_source_that_was_measured(run: Path) -> None:
    rows = {row.source: (row.count, row.first_order, row.mismatch) for row in source_rows(read_errors(run))}
    assert rows == {"null": (10, 4.5, 0.5), "source": (5, 2.0, 1.0)}


def test_the_plot_has_a_dot_for_each_measurement_and_a_curve_for_each_source(run: Path) -> None:
    figure = plot(read_errors(run), "a run")
    for panel in figure.axes:
        assert [len(line.get_xdata()) for line in panel.lines] == [10, 10, 5, 5]
        assert [text.get_text() for text in panel.get_legend().texts] == ["null", "source"]
    dots = figure.axes[0].lines[0]
    assert dots.get_ydata().tolist() == list(range(10))


def test_the_plot_is_a_function_of_the_log(run: Path) -> None:
    series = read_errors(run)
    for name in ("one.svg", "other.svg"):
        write_plot(series, run / name, "a <run> of $5")
    one, other = (ElementTree.fromstring((run / name).read_text()) for name in ("one.svg", "other.svg"))
    assert ElementTree.tostring(one) == ElementTree.tostring(other)
    assert "a <run> of $5" in "".join(one.itertext())


def test_curves_are_means_over_neighbours() -> None:
    assert smoothed([(5, 1.0)]) == [(5, 1.0)]
    line = [(k, float(k)) for k in range(20)]
    assert smoothed(line)[10] == (10, 10.0) and smoothed(line)[0] == (0, 1.5)


def test_what_is_not_finite_is_said_with_its_step_and_left_out(run: Path, capsys) -> None:
    for k, value in ((200, "nan"), (220, "inf")):
        add_row(run / "errors.csv", {"step": k, "first_order_null": value, "mismatch_null": 0.5})
    rows = {row.source: row.first_order for row in source_rows(read_errors(run))}
    assert rows["null"] == 4.5
    said = capsys.readouterr().err
    assert "first_order_null at step 200 is nan" in said and "first_order_null at step 220 is inf" in said


def test_a_log_that_windows_has_saved_is_read(tmp_path: Path) -> None:
    log = tmp_path / "errors.csv"
    log.write_text("step,first_order_null,mismatch_null\n0,1,2\n", encoding="utf-8-sig")
    assert read_errors(log) == {"first_order_null": [(0, 1.0)], "mismatch_null": [(0, 2.0)]}
    log.write_text(log.read_text(encoding="utf-8-sig"), encoding="utf-16")
    with pytest.raises(UserError, match="errors.csv is text in UTF-16; save it as UTF-8"):
        read_errors(log)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "neither errors.csv nor metrics.csv"),
        ("step,loss\n0,1\n", "errors-every 25"),
        ("step,mismatch_null\n0,much\n", "not the log of a run"),
        ("a,mismatch_null\n0,1\n", "not the log of a run"),
        ("mismatch_null,step\n0.5\n", "not the log of a run"),
        ("", "holds no errors"),
    ],
)
def test_what_is_no_log_is_said_in_one_line(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "metrics.csv").write_text(content)
    with pytest.raises(UserError, match=said) as caught:
        read_errors(tmp_path)
    assert "\n" not in str(caught.value)
