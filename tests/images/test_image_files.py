"""Images that people have, and files that are none."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
import torch
from PIL import Image, features

from bridge_nerf.errors import UserError
from bridge_nerf.images.image_files import FORMATS, fitting_size, note_in, read_image, to_tensor
from bridge_nerf.pixels import png, to_bytes

RED = (200, 30, 20)


def stored(path, mode: str, **options):
    image = Image.new("RGB", (6, 4), RED)
    image = image.quantize(4) if mode == "P" else image.convert(mode)
    image.save(path, **options)
    return np.asarray(read_image(path)).reshape(-1, 3)


@pytest.mark.parametrize(
    "mode, suffix", [("RGB", "png"), ("RGBA", "png"), ("P", "gif"), ("CMYK", "jpg"), ("RGB", "webp")]
)
def test_every_mode_is_read_as_rgb(tmp_path, mode, suffix):
    assert np.abs(stored(tmp_path / f"a.{suffix}", mode).astype(int) - RED).max() <= 12


def test_gray_images_of_8_and_16_bits_agree(tmp_path):
    values = np.arange(0, 256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(values.astype(np.uint8)).save(tmp_path / "8.png")
    Image.fromarray(values * 257).save(tmp_path / "16.png")
    eight, sixteen = (np.asarray(read_image(tmp_path / f"{bits}.png")) for bits in (8, 16))
    assert np.array_equal(eight, sixteen) and np.array_equal(eight[..., 0], values)


def test_transparent_parts_are_white(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (*RED, 255)
    pixels[1, 1] = (*RED, 51)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    seen = np.asarray(read_image(tmp_path / "a.png"))
    assert seen[0, 0].tolist() == list(RED) and seen[0, 1].tolist() == [255] * 3
    assert np.abs(seen[1, 1] - (0.2 * np.array(RED) + 0.8 * 255)).max() <= 1


def test_a_photograph_is_turned_as_its_exif_says(tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned 90 degrees clockwise: left becomes top
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    seen = np.asarray(read_image(tmp_path / "a.png"))
    assert seen.shape == (16, 8, 3) and (seen[:8] == 255).all() and (seen[8:] == 0).all()


def test_of_two_views_the_first_is_the_image(tmp_path):
    views = [Image.new("RGB", (16, 8), colour) for colour in (RED, "blue")]
    views[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=views[1:])
    assert getattr(Image.open(tmp_path / "a.jpg"), "n_frames", 1) == 2
    seen = np.asarray(read_image(tmp_path / "a.jpg")).astype(int)
    assert seen.shape == (8, 16, 3) and np.abs(seen - RED).max() <= 12


def bad_files() -> dict[str, tuple[bytes, str]]:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "png")
    whole = buffer.getvalue()
    frames = [Image.new("L", (4, 4), k) for k in (0, 255)]
    film = io.BytesIO()
    frames[0].save(film, "gif", save_all=True, append_images=frames[1:])
    # A header alone is enough to say that an image has 20000 x 20000 pixels.
    huge = bytearray(whole)
    huge[16:24] = (20000).to_bytes(4, "big") * 2
    import zlib

    huge[29:33] = zlib.crc32(bytes(huge[12:29])).to_bytes(4, "big")
    tiff = io.BytesIO()
    Image.new("RGB", (64, 64)).save(tiff, "tiff")
    return {
        "text.png": (b"hello", "not an image that can be read"),
        "empty.png": (b"", "is empty"),
        "torn.png": (whole[: len(whole) // 2], "damaged"),
        "torn.tif": (tiff.getvalue()[:100], "damaged|not an image that can be read"),
        "film.gif": (film.getvalue(), r"animated \(2 frames\)"),
        "huge.png": (bytes(huge), "too large|20000 x 20000"),
        "photo.heic": (b"\0\0\0\x18ftypheic" + bytes(16), "HEIC"),
    }


@pytest.mark.parametrize("name", bad_files())
def test_a_bad_file_is_one_line(tmp_path, name):
    data, words = bad_files()[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=words) as caught, warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(tmp_path / name)
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_no_file_is_said():
    with pytest.raises(UserError, match="there is no file /nowhere.png"):
        read_image(__import__("pathlib").Path("/nowhere.png"))


@pytest.mark.parametrize("width, height", [(64, 64), (4000, 3000), (30, 900), (1, 1), (2000, 10)])
def test_a_size_keeps_area_and_aspect_as_far_as_multiples_allow(width, height):
    h, w = fitting_size(width, height, 512, 32)
    assert h % 32 == w % 32 == 0 and min(h, w) >= 32
    if max(width / height, height / width) < 4:
        assert abs(np.log(w / h) - np.log(width / height)) < 0.1
        assert abs(np.log(w * h / 512**2)) < 0.1


def test_a_strip_longer_than_any_memory_holds_is_refused():
    assert fitting_size(5000, 20, 512, 32) == (32, 8096)
    with pytest.raises(UserError, match="5000 x 19 would be 8320 pixels long at size 512; crop it"):
        fitting_size(5000, 19, 512, 32)


@pytest.mark.parametrize("name", ["a.eps", "a.png"])
def test_no_program_is_run_on_a_file(tmp_path, monkeypatch, name):
    """Also on none whose name says something else than its content; there is a Ghostscript to be run."""
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    ghostscript.chmod(0o755)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", str(ghostscript))
    Image.new("RGB", (4, 4), RED).save(tmp_path / name, "eps")
    with pytest.raises(UserError, match="not an image that can be read"):
        read_image(tmp_path / name)
    with pytest.raises(OSError), Image.open(tmp_path / name) as image:
        image.load()  # the control: Pillow by itself runs it
    assert (tmp_path / "ran").exists()


def test_formats_that_nobody_paints_in_are_refused(tmp_path):
    for kind in ("ICNS", "ICO", "PCX", "SGI", "TGA", "XBM"):
        mode = "1" if kind == "XBM" else "RGB"
        Image.new(mode, (32, 32)).save(tmp_path / "a.png", kind)
        with pytest.raises(UserError, match="not an image that can be read"):
            read_image(tmp_path / "a.png")


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_that_is_named_is_read(tmp_path, kind):
    if kind == "PSD":  # Pillow writes none: one pixel, by the format's specification
        header = b"8BPS" + bytes([0, 1, *[0] * 6, 0, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 8, 0, 3])
        (tmp_path / "a.psd").write_bytes(header + bytes(12) + bytes([0, 0, *RED]))
    elif not features.check({"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}.get(kind, "jpg")):
        pytest.skip(f"this Pillow has no {kind}")
    else:
        Image.new("RGB", (8, 8), RED).save(tmp_path / "a.psd", kind)
    seen = np.asarray(read_image(tmp_path / "a.psd")).astype(int)
    assert np.abs(seen - RED).max() <= 12


def test_pixels_survive_the_way_there_and_back(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    (tmp_path / "a.png").write_bytes(png(pixels, {"prompt": "café"}))
    assert note_in(tmp_path / "a.png") == {"prompt": "café"}
    tensor = to_tensor(read_image(tmp_path / "a.png"), (4, 6))
    assert tensor.shape == (3, 4, 6) and tensor.dtype == torch.float32
    assert np.array_equal(to_bytes(tensor[None])[0], pixels)


def test_an_image_from_elsewhere_says_nothing(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="does not say how it was made"):
        note_in(tmp_path / "a.png")
