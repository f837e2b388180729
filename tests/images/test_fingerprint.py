"""Other weights, other letters."""

from __future__ import annotations

from bridge_nerf.images.fingerprint import fingerprint
from bridge_nerf.images.making import made
from tests.images.conftest import SPEC
from tests.nerf.stub import PicturePrior


class Retrained(PicturePrior):
    def picture(self, prompt):
        return super().picture(prompt) * 0.9


def test_letters_change_with_the_weights_only(prior):
    assert fingerprint(prior) == fingerprint(PicturePrior()) != fingerprint(Retrained())


def test_what_was_made_is_kept_and_counted(prior, tmp_path):
    pictures, seconds, rows = made(SPEC, prior, tmp_path)
    # Stage one asks TARGET and NULL; of stage two's (TARGET - SOURCE) + (SOURCE - NOISE) TARGET remains.
    assert rows == 6 * 2 + 6 * 1 and seconds > 0
    again = made(SPEC, prior, tmp_path)
    assert (again[0] == pictures).all() and again[1:] == (seconds, rows)
    assert len(list(tmp_path.iterdir())) == 1
