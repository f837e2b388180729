"""Images for measurements, kept and counted."""

from __future__ import annotations

from bridge_nerf.images.making import made
from tests.images.conftest import SPEC


def test_what_was_made_is_kept_and_counted(prior, tmp_path):
    images, seconds, rows = made(SPEC, prior, tmp_path)
    # Stage one asks TARGET and NULL; of stage two's (TARGET - SOURCE) + (SOURCE - NOISE) TARGET remains.
    assert rows == 6 * 2 + 6 * 1 and seconds > 0
    again = made(SPEC, prior, tmp_path)
    assert (again[0] == images).all() and again[1:] == (seconds, rows)
    assert len(list(tmp_path.iterdir())) == 1
