"""Images for measurements, kept and counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bridge_nerf.errors import UserError
from bridge_nerf.evaluation.samples import TableOptions, generated
from bridge_nerf.images.spec import Subject
from tests.images.conftest import SPEC, changed
from tests.nerf.stub import StubPrior


def test_what_was_generated_is_kept_and_counted(tmp_path):
    options = TableOptions(1, 4, 0, tmp_path)
    first = generated(SPEC, StubPrior(), SPEC.subjects, options)
    # Stage one asks TARGET and NULL; of stage two's (TARGET - SOURCE) + (SOURCE - NOISE) TARGET remains.
    assert first.rows == 6 * 2 + 6 * 1 and first.seconds > 0
    again = generated(SPEC, StubPrior(), SPEC.subjects, options)
    assert torch.equal(again.images, first.images)
    assert (again.seconds, again.rows) == (first.seconds, first.rows)
    assert len(list(tmp_path.iterdir())) == 1


def test_all_subjects_are_there_once_and_in_order_whatever_the_batch(tmp_path):
    subjects = [Subject(("a ball",), seed) for seed in range(5)]
    options = TableOptions(5, 2, 0, tmp_path)
    samples = generated(SPEC, StubPrior(), subjects, options)
    assert len(samples.images) == 5 and len(list(tmp_path.iterdir())) == 3
    assert samples.rows == 5 * (6 * 2 + 6 * 1)
    for image, subject in zip(samples.images, subjects, strict=True):
        alone = generated(SPEC, StubPrior(), [subject], options)
        torch.testing.assert_close(image, alone.images[0], rtol=0, atol=1e-6)


def test_another_start_is_another_image(tmp_path):
    options = TableOptions(1, 1, 0, tmp_path)
    starts = [torch.full((1, *StubPrior().latent_shape), value) for value in (0.2, 0.8)]
    spec = replace(SPEC, config=changed(SPEC.config, learning_rate=0.0))
    images = [generated(spec, StubPrior(), SPEC.subjects, options, start).images for start in starts]
    assert not torch.equal(*images) and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "held",
    [
        b"",
        b"hello",
        {"pictures": np.zeros((1, 3, 4, 4)), "seconds": 1.0, "rows": 1},
        {"pictures": np.full((1, 3, 16, 16), np.nan), "seconds": 1.0, "rows": 1},
        {"pictures": np.full((1, 3, 16, 16), 7.0), "seconds": 1.0, "rows": 1},
        {"pictures": np.zeros((1, 3, 16, 16)), "seconds": "long", "rows": 1},
        {"pictures": np.zeros((1, 3, 16, 16)), "rows": 1},
    ],
    ids=["empty", "text", "another size", "no numbers", "too bright", "words", "no seconds"],
)
def test_what_is_kept_is_checked(tmp_path, held):
    options = TableOptions(1, 4, 0, tmp_path)
    generated(SPEC, StubPrior(), SPEC.subjects, options)
    (path,) = tmp_path.iterdir()
    path.write_bytes(held) if isinstance(held, bytes) else np.savez(path, **held)
    with pytest.raises(UserError, match=f"{path.name} .*remove it, and its images are made again") as caught:
        generated(SPEC, StubPrior(), SPEC.subjects, options)
    assert "\n" not in str(caught.value)
