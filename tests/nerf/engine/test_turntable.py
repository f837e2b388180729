import io

import numpy as np
from PIL import Image

from bridge_nerf.nerf.engine import turntable
from bridge_nerf.nerf.scene.orbit import turntable as orbit
from tests.nerf.test_model import make


def test_frames_show_the_object_from_all_sides() -> None:
    model = make().train()
    images = turntable.frames(model, orbit(5, 15.0, 3.3, 40.0), 20)
    assert images.shape == (5, 20, 20, 3) and images.dtype == np.uint8
    assert model.training, "left as it was found"
    assert (images[:, 0, 0] == 255).all()
    assert (images[:, 10, 10] < 250).any(-1).all()


def test_a_contact_sheet_is_read_row_by_row() -> None:
    images = np.arange(8, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    sheet = np.asarray(Image.open(io.BytesIO(turntable.contact_sheet(images, columns=3))))
    assert sheet.shape == (12, 12, 3)
    assert sheet[::4, ::4, 0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 255]]
