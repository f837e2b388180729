"""Images as 8-bit pixels, as sheets and as films."""

import io

import av
import numpy as np
import pytest
import torch

from bridge_nerf import pixels
from bridge_nerf.errors import UserError


def shown(data: bytes) -> list[np.ndarray]:
    with av.open(io.BytesIO(data)) as film:
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_never_drawn(value: float) -> None:
    images = torch.zeros(3, 3, 2, 2)
    images[1, 0, 1, 1] = value
    with pytest.raises(UserError, match="1 of 3 images hold numbers that are not finite"):
        pixels.to_bytes(images)


def test_layout_of_sheets_and_frames() -> None:
    one, two = np.zeros((3, 5, 3), np.uint8), np.full((3, 5, 3), 9, np.uint8)
    sheet = pixels.side_by_side([one, two, two], 2, gap=1)
    assert sheet.shape == (7, 11, 3)
    assert (sheet[:3, :5] == 0).all() and (sheet[4:, :5] == 9).all() and (sheet[4:, 6:] == 255).all()
    assert pixels.side_by_side([one, two], 8, gap=0).shape == (3, 10, 3)
    assert pixels.enlarged(one, least=9).shape == (9, 15, 3)


@pytest.mark.parametrize(
    "number, size, frame",
    [
        (1, (64, 64), (64, 64)),
        (4, (64, 64), (64, 4 * 68 - 4)),
        (8, (64, 64), (2 * 68 - 4, 4 * 68 - 4)),
        (1024, (64, 64), (23 * 68 - 4, 45 * 68 - 4)),
        (3, (8, 2048), (3 * 12 - 4, 2048)),
        (1, (32, 16400), (8, 4096)),
        (1, (16400, 32), (4096, 8)),
        (1, (4, 40000), (1, 4096)),
    ],
)
def test_any_number_of_images_of_any_shape_is_a_frame(number: int, size: tuple, frame: tuple) -> None:
    images = [np.full((*size, 3), k % 200, np.uint8) for k in range(number)]
    together = pixels.together(images)
    assert together.shape == (*frame, 3) and together[0, 0, 0] == 0
    large = pixels.enlarged(together)
    assert max(large.shape[:2]) <= pixels.MAX_SIDE and min(large.shape[:2]) >= min(together.shape[:2])


def test_a_frame_is_never_larger_than_a_film_can_be() -> None:
    height, width = pixels.fitting(20_000, 30_000)
    assert height * width <= pixels.MAX_AREA * 1.001 and abs(width / height - 1.5) < 0.001
    assert pixels.fitting(2304, 4096) == (2304, 4096)
    assert pixels.fitting(1, 100_000) == (1, 4096)


@pytest.mark.parametrize(
    "size, film",
    [((33, 47), (34, 48)), ((1, 1), (2, 2)), ((1, 20_000), (2, 4096)), ((16, 16_386), (4, 4096))],
)
def test_films_of_every_size(size: tuple, film: tuple) -> None:
    """At 16386 pixels a side libx264 itself gives up."""
    (frame,) = shown(pixels.video([np.full((*size, 3), 90, np.uint8)]))
    assert frame.shape == (*film, 3) and abs(frame.mean() - 90) < 3


def test_frames_that_differ_in_size_are_brought_to_the_first() -> None:
    first, second = np.full((32, 32, 3), 30, np.uint8), np.full((64, 48, 3), 200, np.uint8)
    frames = shown(pixels.video(iter([first, second])))
    assert [frame.shape for frame in frames] == [(32, 32, 3)] * 2 and abs(frames[1].mean() - 200) < 6


def test_a_film_of_nothing() -> None:
    with pytest.raises(ValueError, match="no frames"):
        pixels.video([])


def test_a_video_has_every_frame() -> None:
    ramp = np.linspace(0, 255, 10).astype(np.uint8)[:, None, None, None]
    data = pixels.video(np.broadcast_to(ramp, (10, 32, 48, 3)).copy(), 12)
    with av.open(io.BytesIO(data)) as video:
        stream = video.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (48, 32, 12)
        shown = [frame.to_ndarray(format="rgb24").mean() for frame in video.decode(stream)]
    np.testing.assert_allclose(shown, ramp.ravel(), atol=6)
