"""Films of an object: their kinds, their outputs, and what they cannot hold."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

from bridge_nerf.errors import UserError
from bridge_nerf.nerf.export.films import WRITERS, checked, frames
from bridge_nerf.nerf.model import BridgeModel
from bridge_nerf.nerf.scene.orbit import Orbit

OUTPUTS = ("rgb", "albedo", "normals", "accumulation", "depth")


def test_every_output_is_another_image_of_the_same_object(egg: BridgeModel, around: Orbit) -> None:
    first = {name: next(frames(egg, around, 32, name, False)) for name in OUTPUTS}
    assert all(image.shape == (32, 32, 3) for image in first.values())
    assert len({image[16, 16].tobytes() for image in first.values()}) >= 4
    assert (first["accumulation"][0, 0] == 0).all() and (first["accumulation"][16, 16] > 250).all()


@pytest.mark.parametrize("output", OUTPUTS)
def test_alpha_is_the_opacity(egg: BridgeModel, around: Orbit, output) -> None:
    image = next(frames(egg, around, 32, output, True))
    assert image.shape == (32, 32, 4)
    assert image[0, 0, 3] == 0 and image[16, 16, 3] > 250


def test_each_kind_holds_all_frames(egg: BridgeModel, around: Orbit, tmp_path: Path) -> None:
    images = list(frames(egg, around, 32, "rgb", False))
    places = {kind: write(images, tmp_path / f"turn.{kind}") for kind, write in WRITERS.items()}
    assert len(list(ImageSequence.Iterator(Image.open(places["gif"])))) == 6
    animation = [np.asarray(i.convert("RGB")) for i in ImageSequence.Iterator(Image.open(places["apng"]))]
    assert np.array_equal(np.stack(animation), np.stack(images))
    stills = sorted(places["png"].iterdir())
    assert [path.name for path in stills] == [f"{k:04d}.png" for k in range(6)]
    assert np.array_equal(np.asarray(Image.open(stills[3])), images[3])
    with av.open(io.BytesIO(places["mp4"].read_bytes())) as film:
        assert sum(1 for _ in film.decode(video=0)) == 6


@pytest.mark.parametrize(
    ("kind", "size", "transparent", "said"),
    [
        ("avi", 64, False, 'has "avi"; choose from mp4,gif,apng,png'),
        ("gif", 64, True, "no effect on gif; choose --to apng or png"),
        ("mp4", 4000, False, "more than mp4 holds; give at most"),
    ],
)
def test_what_a_kind_cannot_hold_is_refused(kind: str, size: int, transparent: bool, said: str) -> None:
    with pytest.raises(UserError, match=said):
        checked(kind, size, transparent)
