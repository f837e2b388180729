"""Colours of files against closed forms: ICC profiles, ranges of gray, transparency."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from bridge_nerf.errors import UserError
from bridge_nerf.images.image_files import read_image
from bridge_nerf.pixels import png

D50 = (0.9642, 1.0, 0.8249)
# Primaries adapted to D50 by Bradford (Lindbloom; for P3 the colorants of Apple's profile).
SRGB = [
    [0.4360747, 0.3850649, 0.1430804],
    [0.2225045, 0.7168786, 0.0606169],
    [0.0139322, 0.0971045, 0.7141733],
]
ADOBE = [
    [0.6097559, 0.2052401, 0.1492240],
    [0.3111242, 0.6256560, 0.0632197],
    [0.0194811, 0.0608902, 0.7448387],
]
P3 = [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]
SWAPPED = np.array(SRGB)[:, [2, 0, 1]].tolist()
"""Its channel 0 is blue, 1 is red, 2 is green."""


def fixed(*values: float) -> bytes:
    """s15Fixed16 numbers."""
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def icc(space: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A minimal ICC profile of version 2 (ICC.1:2001)."""
    tags = {
        b"desc": b"desc" + struct.pack(">II", 0, 5) + b"test\0" + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": b"XYZ \0\0\0\0" + fixed(*D50),
        **tags,
    }
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head = struct.pack(">4xI4s4s4s12x4s28x", 0x02400000, kind, space, pcs, b"acsp") + fixed(*D50)
    whole = head.ljust(124, b"\0") + table + body
    return struct.pack(">I", 4 + len(whole)) + whole


def curve(gamma: float) -> bytes:
    """A power as tone curve."""
    return b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256))


def gray_profile(gamma: float) -> bytes:
    return icc(b"GRAY", b"XYZ ", {b"kTRC": curve(gamma)})


def profile(gamma: float, colorants: list[list[float]]) -> bytes:
    columns = dict(zip("rgb", zip(*colorants, strict=True), strict=True))
    xyz = {f"{c}XYZ".encode(): b"XYZ \0\0\0\0" + fixed(*column) for c, column in columns.items()}
    return icc(b"RGB ", b"XYZ ", xyz | {f"{c}TRC".encode(): curve(gamma) for c in columns})


def ink_profile() -> bytes:
    """Of inks that each take away another colour than theirs: cyan blue, magenta red, yellow green."""
    straight = bytes(range(256))
    nodes = bytes(value for node in np.ndindex(2, 2, 2, 2) for value in lab_bytes(printed(*node)))
    lut = b"mft1" + struct.pack(">IBBBx", 0, 4, 3, 2) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    return icc(b"CMYK", b"Lab ", {b"A2B0": lut + straight * 4 + nodes + straight * 3})


def printed(c: int, m: int, y: int, k: int) -> np.ndarray:
    """What those inks, each all or nothing, leave of white: linear sRGB."""
    return (1 - k) * np.array([1.0 - m, 1.0 - y, 1.0 - c])


def lab_bytes(linear: np.ndarray) -> list[int]:
    """Linear sRGB as CIE L*a*b* (D50) of 8 bits."""
    t = np.array(SRGB) @ linear / D50
    x, y, z = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return [round((116 * y - 16) * 2.55), round(500 * (x - y)) + 128, round(200 * (y - z)) + 128]


def srgb(linear: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1, in 255ths."""
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def expected(pixels: np.ndarray, gamma: float, colorants: list[list[float]]) -> np.ndarray:
    """The pixels in sRGB by the definition of a profile of colorants and a power."""
    return srgb((pixels / 255) ** gamma @ np.array(colorants).T @ np.linalg.inv(SRGB).T)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def seen(image: Image.Image, path, **options) -> np.ndarray:
    """The image as it is read from the file that it is saved to."""
    image.save(path, **options)
    return np.asarray(read_image(path)).astype(float)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize(
    "gamma, colorants",
    [(563 / 256, ADOBE), (2.2, P3), (1.0, ADOBE), (2.2, SWAPPED)],
    ids=["adobe", "p3", "linear", "swapped"],
)
def test_colours_of_a_profile_become_srgb(tmp_path, suffix, gamma, colorants):
    pixels, data = noise(32, 32, 3), profile(round(gamma * 256) / 256, colorants)
    options = {"lossless": True} if suffix == "webp" else {}
    got = seen(Image.fromarray(pixels), tmp_path / f"a.{suffix}", icc_profile=data, **options)
    assert np.abs(got - expected(pixels, round(gamma * 256) / 256, colorants)).max() < 1
    assert np.abs(got - pixels).max() > 20


def test_a_profile_of_srgb_changes_no_pixel(tmp_path):
    pixels = noise(32, 32, 3)
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(seen(Image.fromarray(pixels), tmp_path / "a.png", icc_profile=data), pixels)


def test_an_image_of_ours_is_read_bit_for_bit(tmp_path):
    pixels = noise(9, 7, 3)
    (tmp_path / "a.png").write_bytes(png(pixels, {"prompt": "a ball"}))
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.png")), pixels)


@pytest.mark.parametrize("gamma", [1.0, 1.8])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_gray_profiles_count(tmp_path, gamma, depth):
    gray = np.arange(256).reshape(16, 16)
    image = Image.fromarray((gray * (257 if depth is np.uint16 else 1)).astype(depth))
    data = gray_profile(round(gamma * 256) / 256)
    got = seen(image, tmp_path / "a.png", icc_profile=data)
    assert np.abs(got - srgb((gray / 255) ** (round(gamma * 256) / 256))[..., None]).max() < 1


def test_a_gray_image_may_have_a_profile_for_colours(tmp_path):
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16)
    got = seen(Image.fromarray(gray), tmp_path / "a.png", icc_profile=profile(1.0, ADOBE))
    assert np.abs(got - srgb(gray / 255)[..., None]).max() < 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparency_survives_a_profile(tmp_path, mode):
    alpha = np.array([[0, 51], [102, 255]], np.uint8)
    colour = np.full((2, 2, 3), 128 if mode == "LA" else (200, 30, 20), np.uint8)
    image = Image.fromarray(np.dstack([colour, alpha]), "RGBA")
    if mode == "PA":  # which only TGA and few others hold: as it is
        from bridge_nerf.images.colours import as_srgb

        palette = Image.fromarray(colour).quantize(1).convert("PA")
        palette.putalpha(Image.fromarray(alpha))
        palette.info["icc_profile"] = profile(1.0, SRGB)
        got = np.asarray(as_srgb(palette, "an image", pytest.fail)).astype(float)
    else:
        data = gray_profile(1.0) if mode == "LA" else profile(1.0, SRGB)
        image = image.quantize(4, dither=Image.Dither.NONE) if mode == "P" else image.convert(mode)
        got = seen(image, tmp_path / "a.png", icc_profile=data)
    share = alpha[..., None] / 255
    assert np.abs(got - (share * srgb(colour / 255) + (1 - share) * 255)).max() < 2


def test_deep_images_keep_their_transparency(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.array([[[257, 514, 771, 65535], [0, 0, 0, 0]]], np.uint16))
    assert np.asarray(read_image(tmp_path / "a.png")).tolist() == [[[3, 2, 1], [255] * 3]]
    gray = Image.fromarray(np.array([[7 * 257, 513]], np.uint16))
    gray.save(tmp_path / "b.png", transparency=513)
    assert np.asarray(read_image(tmp_path / "b.png")).tolist() == [[[7] * 3, [255] * 3]]


def test_lab_images_are_read(tmp_path):
    # CIE L*, a*, b* of sRGB's red by the formulas (D50), and of middle gray.
    pixels = np.array([[[54.29, 80.81, 69.89], [53.39, 0, 0]]])
    stored = np.dstack([pixels[..., 0] * 255 / 100, pixels[..., 1:] % 256]).round().astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="cielab")
    got = np.asarray(read_image(tmp_path / "a.tif")).astype(float)
    assert np.abs(got - [[[255, 0, 0], [127, 127, 127]]]).max() < 6


@pytest.mark.parametrize("transform", [0, 2])
def test_adobes_inverted_cmyk_is_read_as_others_read_it(tmp_path, transform):
    image = Image.fromarray(noise(8, 8, 4), "CMYK").resize((64, 64))
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=98)
    assert b"Adobe\0d" in buffer.getvalue(), "Pillow marks it as Adobe does"
    data = bytearray(buffer.getvalue())
    data[data.index(b"Adobe") + 11] = transform  # 2: the same numbers, now read as YCCK
    (tmp_path / "a.jpg").write_bytes(data)
    other = cv2.cvtColor(cv2.imread(str(tmp_path / "a.jpg")), cv2.COLOR_BGR2RGB)
    assert np.abs(np.asarray(read_image(tmp_path / "a.jpg")).astype(int) - other).max() < 5


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_inks_are_what_their_profile_says(tmp_path, suffix):
    for node in np.ndindex(2, 2, 2, 2):
        image = Image.new("CMYK", (8, 8), tuple(255 * k for k in node))
        options = {"quality": 100} if suffix == "jpg" else {}
        got = seen(image, tmp_path / f"a.{suffix}", icc_profile=ink_profile(), **options)
        assert np.abs(got - 255 * printed(*node)).max() < 12, "Lab has 8 bits"


def unusable() -> dict[str, bytes]:
    whole = profile(1.0, ADOBE)
    return {"nonsense": b"nonsense", "torn": whole[:200], "gray": gray_profile(1.0)}


@pytest.mark.parametrize("name", unusable())
def test_a_profile_that_cannot_be_used_is_said_and_left_out(tmp_path, name, capsys):
    pixels, path = noise(4, 4, 3), tmp_path / "a.png"
    Image.fromarray(pixels).save(path, icc_profile=unusable()[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(np.asarray(read_image(path)), pixels)
        read_image(path)
    said = capsys.readouterr().out
    assert said.startswith(f"{path}: its colour profile cannot be used (") and said.count("\n") == 1


def test_a_profile_that_pillow_gives_up_is_said(tmp_path, capsys):
    Image.fromarray(noise(4, 4, 3)).save(tmp_path / "a.png", icc_profile=profile(1.0, ADOBE))
    data = bytearray((tmp_path / "a.png").read_bytes())
    at = data.index(b"iCCP")
    length = struct.unpack(">I", data[at - 4 : at])[0]
    data[at + 20 : at + 4 + length] = bytes(length - 16)
    check = zlib.crc32(data[at : at + 4 + length])
    data[at + 4 + length : at + 8 + length] = struct.pack(">I", check)
    (tmp_path / "a.png").write_bytes(data)
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.png")), noise(4, 4, 3))
    assert "its colour profile cannot be used (it is damaged) and is left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    "kind, white",
    [(np.float32, 1), (np.float32, 255), (np.float32, 65535), (np.int32, 255), (np.int32, 65535)],
)
def test_the_range_of_32_bits_goes_by_the_largest_value(tmp_path, kind, white, capsys):
    share = np.linspace(0, 1, 256).reshape(16, 16)
    image = Image.fromarray((share * white).round(0 if white > 1 else 9).astype(kind))
    got = seen(image, tmp_path / "a.tif")
    assert np.abs(got - 255 * share[..., None]).max() < 1.01
    assert f"{white} is taken as white" in capsys.readouterr().out


def test_half_dark_floats_are_not_stretched(tmp_path):
    for values, shade in (([[0.0, 0.5]], 128), ([[0.0, 100.0]], 100), ([[0.0, 32768.0]], 128)):
        got = seen(Image.fromarray(np.array(values, np.float32)), tmp_path / "a.tif")
        assert got[0, :, 0].tolist() == [0, shade]


def test_overshoot_is_clipped(tmp_path):
    got = seen(Image.fromarray(np.array([[-0.02, 0.5, 1.03]], np.float32)), tmp_path / "a.tif")
    assert got[0, :, 0].tolist() == [0, 128, 255]


def test_a_dark_image_of_16_bits_stays_dark(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5\n3 1\n65535\n" + struct.pack(">3H", 0, 200, 255))
    assert np.asarray(read_image(tmp_path / "a.pgm")).max() == 1


@pytest.mark.parametrize(
    "values, words",
    [
        ([[np.nan, 0.5, np.inf]], "2 pixels that are not finite"),
        ([[-1.0, 0.0, 1.0]], "values from -1 to 1; give some from 0 for black to 1 or 255 or 65535"),
        ([[0.0, 1e6]], "values from 0 to 1e.06; give"),
        (np.array([[0, 2**30]], np.int32), "values from 0 to .*; give some from 0 for black to 255 or 65535"),
    ],
)
def test_values_that_are_not_a_images_are_one_line(tmp_path, values, words):
    values = np.asarray(values)
    path = tmp_path / "a.tif"
    Image.fromarray(values if values.dtype == np.int32 else values.astype(np.float32)).save(path)
    with pytest.raises(UserError, match=words) as refused:
        read_image(path)
    assert str(refused.value).startswith(str(path)) and "\n" not in str(refused.value)


def test_of_several_pages_the_first_is_the_image(tmp_path, capsys):
    pages = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue")]
    got = seen(pages[0], tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert (got == [255, 0, 0]).all() and "has 2 pages; the first is taken" in capsys.readouterr().out


def test_of_layers_all_together_are_the_image(tmp_path):
    def channel(value: int) -> bytes:
        return bytes([value]) * 6 * 4

    layer = struct.pack(">4iH", 0, 0, 4, 6, 3) + b"".join(struct.pack(">hI", k, 2 + 24) for k in range(3))
    layer += b"8BIMnorm\xff\0\0\0" + struct.pack(">III", 12, 0, 0) + b"\1a\0\0"
    data = b"".join(b"\0\0" + channel(0) for _ in range(6))
    layers = struct.pack(">h", 2) + 2 * layer + data
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 4, 6, 8, 3) + bytes(8)
    section = struct.pack(">I", len(layers)) + layers
    (tmp_path / "a.psd").write_bytes(
        head + struct.pack(">I", len(section)) + section + b"\0\0" + b"".join(map(channel, (200, 30, 20)))
    )
    with Image.open(tmp_path / "a.psd") as image:
        assert getattr(image, "n_frames", 1) == 2
    assert (np.asarray(read_image(tmp_path / "a.psd")) == [200, 30, 20]).all()


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "avif"])
def test_animations_are_refused(tmp_path, suffix):
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue")]
    with pytest.raises(UserError, match=r"animated \(2 frames\)"):
        seen(frames[0], tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_a_profile_and_a_turn_go_together(tmp_path, suffix):
    pixels = noise(4, 8, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned 90 degrees clockwise
    data = profile(1.0, SRGB)
    got = seen(Image.fromarray(pixels), tmp_path / f"a.{suffix}", exif=exif, icc_profile=data)
    assert np.abs(got - srgb(np.rot90(pixels, -1) / 255)).max() < 1
