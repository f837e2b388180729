"""Strategies of damage: real files with a value replaced, removed, added, of another type, cut or foreign."""

from __future__ import annotations

import codecs
import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from bridge_nerf.pixels import NOTE

UNPICKLED = "unpickled"
"""Name of the folder that appears in the current one where a pickle of these files is run."""
OUTSIDE = "outside"
"""Name in the texts that lead out of a folder."""

Strategy = st.SearchStrategy


@dataclass(frozen=True)
class Damaged:
    """A damaged file; its bytes would fill the screen where a case fails."""

    what: str
    data: bytes = field(repr=False)


Damage = Callable[[bytes], Strategy[Damaged]]
"""A real file's bytes -> damaged ones."""


class Trap:
    """Pickles as a program that makes a folder."""

    def __reduce__(self) -> tuple:
        return os.mkdir, (UNPICKLED,)

    def __deepcopy__(self, _: object) -> "Trap":
        return self  # copied as others are, by what it pickles as, it would go off


def foreign() -> dict[str, bytes]:
    """Whole files of other kinds, which may stand under any name."""
    jpeg, gif, tensors = io.BytesIO(), io.BytesIO(), io.BytesIO()
    Image.new("RGB", (4, 4)).save(jpeg, "jpeg")
    Image.new("L", (4, 4)).save(gif, "gif", save_all=True, append_images=[Image.new("L", (4, 4), 9)])
    torch.save({"a": torch.zeros(1)}, tensors)
    return {
        "nothing": b"",
        "zeros": bytes(1000),
        "a word": b"hello",
        "an empty list": b"[]",
        "a list of lists": b"[[1, 2], [3]]",
        "a number": b"7",
        "null": b"null",
        "a text in quotes": b'"hello"',
        "an empty object": b"{}",
        "UTF-16": "step,loss\r\n1,2\r\n".encode("utf-16"),
        "UTF-16 without its mark": '{"a": 1}'.encode("utf-16-le"),
        "bytes that are no text": bytes(range(256)),
        "a long line": b"a" * 300_000,
        "a deep list": b"[" * 100_000,
        "a deep object": b'{"a":' * 100_000,
        "a pickle": pickle.dumps(Trap()),
        "a pickle of an old protocol": pickle.dumps(Trap(), 0),
        "a checkpoint of something else": tensors.getvalue(),
        "a JPEG": jpeg.getvalue(),
        "an animation": gif.getvalue(),
        "a PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n",
        "a ZIP without its directory": _zip()[:60],
        "a ZIP of one text": _zip(),
        "a header that is too long": struct.pack("<Q", 2**63) + b"{}",
    }


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.txt", "hello " * 50)
    return buffer.getvalue()


def torn(data: bytes) -> Strategy[Damaged]:
    """The file cut, with other bytes in it, in another encoding, or a foreign one under its name."""
    places = st.integers(0, max(len(data) - 1, 0))

    def flipped(place: int, value: int) -> Damaged:
        whole = bytearray(data or b"\0")
        whole[place] = value
        return Damaged(f"byte {place} is {value}", bytes(whole))

    whole = {
        "zeros behind it": data + bytes(100),
        "twice": data + data,
        "a mark of UTF-8": codecs.BOM_UTF8 + data,
        "UTF-16": data.decode("latin-1").encode("utf-16"),
        "UTF-32": data.decode("latin-1").encode("utf-32"),
        "in Latin-1": data + "é".encode("latin-1"),
        "zeros in its place": bytes(len(data)),
    }
    return st.one_of(
        st.sampled_from([Damaged(*item) for item in foreign().items()]),
        st.sampled_from([Damaged(*item) for item in whole.items()]),
        places.map(lambda end: Damaged(f"cut after {end} bytes", data[:end])),
        st.builds(flipped, places, st.integers(0, 255)),
        places.map(lambda at: Damaged(f"a zero at {at}", data[:at] + b"\0" + data[at:])),
    )


Place = tuple[Any, ...]


def _places(tree: Any, here: Place = ()) -> Iterator[Place]:
    yield here
    if isinstance(tree, dict | list | tuple):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _places(value, (*here, key))


def _put(tree: Any, place: Place, change: Callable[[Any, Any], None]) -> Any:
    """A copy in which `change` was called with the owner of that place and the key in it."""
    top = [deepcopy(tree)]
    owner: Any = top
    for key in (0, *place)[:-1]:
        if isinstance(owner[key], tuple):
            owner[key] = list(owner[key])
        owner = owner[key]
    change(owner, (0, *place)[-1])
    return top[0] if top else None


def trees(tree: Any, odd: Strategy[tuple[str, Any]]) -> Strategy[tuple[str, Any]]:
    """The tree of dictionaries and lists with one or two values replaced, removed or added.

    Args:
        odd: (what it is, value) to put in.
    """

    @st.composite
    def changed(draw: st.DrawFn) -> tuple[str, Any]:
        result, said = tree, []
        for _ in range(draw(st.integers(1, 2))):
            place = draw(st.sampled_from(list(_places(result))))
            way = draw(st.sampled_from(("replace", "replace", "replace", "remove", "add")))
            what, value = draw(odd)
            name = ".".join(map(str, place)) or "all"
            if way == "remove" and place:
                result = _put(result, place, lambda owner, key: owner.pop(key))
                said.append(f"no {name}")
            elif way == "add":

                def added(owner: Any, key: Any, value: Any = value) -> None:
                    if isinstance(owner[key], dict):
                        owner[key]["unknown"] = value
                    elif isinstance(owner[key], list):
                        owner[key].append(value)
                    else:
                        owner[key] = [value]

                result = _put(result, place, added)
                said.append(f"{name} has {what} too")
            else:
                result = _put(result, place, lambda owner, key, value=value: owner.__setitem__(key, value))
                said.append(f"{name} is {what}")
        return ", ".join(said), result

    return changed()


ODD_TEXTS = {
    "null": "null",
    "true": "true",
    "0": "0",
    "-1": "-1",
    "1": "1",
    "a half": "0.5",
    "10^9": "1000000000",
    "4096": "4096",
    "an integer of 30 digits": "9" * 30,
    "a negative one of 30 digits": "-" + "9" * 30,
    "an integer of 5000 digits": "9" * 5000,
    "1e300": "1e300",
    "1e400": "1e400",
    "NaN": "NaN",
    "-Infinity": "-Infinity",
    "an empty text": '""',
    "a number in quotes": '"1"',
    "a way out": f'"../../{OUTSIDE}"',
    "an absolute way out": '"/dev/shm/nobody"',
    '"load"': '"load"',
    '"hub"': '"hub"',
    "a hub id": '"somebody/nothing"',
    "a module": '"antigravity:fly"',
    "a zero letter": '"a\\u0000b"',
    "half a letter": '"\\ud800"',
    "a new line": '"one\\ntwo"',
    "a long text": '"' + "a" * 10_000 + '"',
    "an empty list": "[]",
    "an empty object": "{}",
    "a list of lists": "[[1], [2]]",
    "an object": '{"a": 1}',
    "a long list": "[" + "0," * 5000 + "0]",
    "a deep list": "[" * 100_000 + "]" * 100_000,
}
"""JSON by what it is, also such as Python would not write."""


def _written(tree: Any) -> bytes:
    """The tree as JSON; a text that begins with _RAW is JSON itself."""
    text = json.dumps(tree)
    for what, raw in ODD_TEXTS.items():
        text = text.replace(json.dumps(_RAW + what), raw)
    return text.encode()


_RAW = "json: "


def json_trees(data: bytes) -> Strategy[Damaged]:
    """JSON with other values in it."""
    odd = st.sampled_from([(what, _RAW + what) for what in ODD_TEXTS])
    return trees(json.loads(data), odd).map(lambda made: Damaged(made[0], _written(made[1])))


def json_files(data: bytes) -> Strategy[Damaged]:
    """JSON with other values in it, or torn."""
    return st.one_of(json_trees(data), json_trees(data), json_trees(data), torn(data))


def lines(data: bytes) -> Strategy[Damaged]:
    """Texts in lines: some gone, twice, empty, long, with odd letters."""
    lines = data.decode().splitlines(keepends=True)
    odd = [
        "\n",
        "#\n",
        " \t\n",
        "a" * 100_000 + "\n",
        "\x1b[2J\n",
        "é\u2028ü\n",
        "'\n",
        '"\n',
        "\\\n",
        ",,\n",
    ]

    def changed(place: int, line: str, instead: bool) -> Damaged:
        what = f"line {place} {'is' if instead else 'comes after'} {line[:20]!r}"
        return Damaged(what, "".join([*lines[:place], line, *lines[place + instead :]]).encode())

    places = st.integers(0, len(lines))
    return st.one_of(st.builds(changed, places, st.sampled_from(odd), st.booleans()), torn(data))


def csv_files(data: bytes) -> Strategy[Damaged]:
    """Tables with other columns, cells and rows, or torn."""
    rows = [line.split(",") for line in data.decode().splitlines()]
    odd = [
        "",
        "x",
        "nan",
        "-1",
        "1e400",
        "0.5",
        "9" * 30,
        "9" * 5000,
        '"',
        '"a\nb"',
        "\0",
        "a" * 200_000,
        "１",
    ]

    def changed(row: int, column: int, cell: str, way: str) -> Damaged:
        table = [list(cells) for cells in rows]
        row, column = row % len(table), column % len(table[0])
        if way == "cell":
            table[row][column] = cell
        elif way == "header":
            table[0][column] = cell
        elif way == "no column":
            table = [cells[:column] + cells[column + 1 :] for cells in table]
        elif way == "short row":
            table[row] = table[row][:column]
        elif way == "long row":
            table[row] += [cell] * 3
        elif way == "no row":
            del table[row]
        else:
            table.insert(row, table[row])
        what = f"{way}, row {row}, column {column}, {cell[:20]!r}"
        return Damaged(what, "".join(",".join(cells) + "\r\n" for cells in table).encode())

    ways = st.sampled_from(("cell", "header", "no column", "short row", "long row", "no row", "row twice"))
    numbers = st.integers(0, 50)
    return st.one_of(st.builds(changed, numbers, numbers, st.sampled_from(odd), ways), torn(data))


def checkpoints(data: bytes) -> Strategy[Damaged]:
    """Files of torch with other values, shapes and types in them, with a program in them, or torn."""
    tree = torch.load(io.BytesIO(data), map_location="cpu", weights_only=False)
    odd = {
        "None": None,
        "True": True,
        "0": 0,
        "-1": -1,
        "a half": 0.5,
        "10^12": 10**12,
        "2^70": 2**70,
        "nan": float("nan"),
        "a text": "3",
        "a way out": f"../../{OUTSIDE}",
        "an empty list": [],
        "an empty dict": {},
        "a list": [1, 2],
        "a dict of numbers": {0: 1},
        "a tensor of one": torch.zeros(1),
        "an empty tensor": torch.zeros(0),
        "a scalar": torch.tensor(1.0),
        "whole numbers": torch.ones(3, 16, 16, dtype=torch.int64),
        "truths": torch.tensor(True),
        "complex numbers": torch.zeros(3, dtype=torch.complex64),
        "NaNs": torch.full((1, 3, 16, 16), torch.nan),
        "infinities": torch.full((1, 3, 16, 16), torch.inf),
        "a view of 10^9 numbers": torch.zeros(1).expand(10**5, 10**4),
        "a sparse tensor": torch.eye(3).to_sparse(),
        "a program": Trap(),
    }

    def written(made: tuple[str, Any]) -> Damaged:
        buffer = io.BytesIO()
        torch.save(made[1], buffer)
        return Damaged(made[0], buffer.getvalue())

    changed = trees(tree, st.sampled_from(list(odd.items()))).map(written)

    def shaped(made: tuple[Place, str]) -> Damaged:
        place, way = made

        def change(owner: Any, key: Any) -> None:
            ways = {
                "flat": lambda x: x.reshape(-1),
                "longer": lambda x: torch.cat([x[None]] * 2),
                "halves": lambda x: x.half(),
                "NaN": lambda x: torch.full_like(x, torch.nan) if x.is_floating_point() else -x.clamp(1),
                "huge": lambda x: x * 1e30 if x.is_floating_point() else x + 2**40,
            }
            owner[key] = ways[way](owner[key]).clone()

        return written((f"{'.'.join(map(str, place))} is {way}", _put(tree, place, change)))

    def at(place: Place) -> Any:
        value = tree
        for key in place:
            value = value[key]
        return value

    tensors = [place for place in _places(tree) if isinstance(at(place), torch.Tensor) and at(place).ndim]
    ways = st.sampled_from(("flat", "longer", "halves", "NaN", "huge"))
    other = st.tuples(st.sampled_from(tensors), ways).map(shaped)
    return st.one_of(changed, changed, other, torn(data))


def pngs(data: bytes) -> Strategy[Damaged]:
    """Images of another size, mode or format, with a header that lies, or torn."""
    image = Image.open(io.BytesIO(data))
    image.load()

    def stored(what: str, other: Image.Image, kind: str = "png", **options: Any) -> Damaged:
        buffer = io.BytesIO()
        other.save(buffer, kind, **options)
        return Damaged(what, buffer.getvalue())

    made = [
        stored("one pixel", image.resize((1, 1))),
        stored("odd sides", image.resize((7, 13))),
        stored("larger", image.resize((64, 32))),
        stored("a long one", image.resize((3000, 1))),
        *(stored(f"mode {mode}", image.convert(mode)) for mode in ("1", "L", "LA", "P", "RGBA", "I")),
        *(stored(kind, image, kind) for kind in ("jpeg", "gif", "bmp", "webp", "tiff", "ppm", "ico", "pcx")),
        stored("an animation", image, save_all=True, append_images=[image.rotate(90)]),
    ]

    def sized(width: int, height: int) -> Damaged:
        return Damaged(f"a header of {width} x {height}", with_header(data, width, height))

    sides = st.sampled_from((0, 1, 15, 17, 4096, 9999, 65535, 10**6, 2**31 - 1))
    return st.one_of(st.sampled_from(made), st.builds(sized, sides, sides), torn(data))


def with_header(data: bytes, width: int, height: int) -> bytes:
    """A PNG whose first chunk says another size, with the right checksum."""
    body = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + body + struct.pack(">I", zlib.crc32(body)) + data[33:]


def note_of(data: bytes) -> bytes:
    """The note in a PNG, as JSON."""
    return Image.open(io.BytesIO(data)).text[NOTE].encode()  # type: ignore[attr-defined]


def with_note(data: bytes, note: bytes) -> bytes:
    """The PNG with another note."""
    image, buffer, info = Image.open(io.BytesIO(data)), io.BytesIO(), PngImagePlugin.PngInfo()
    info.add_itxt(NOTE, note.decode("latin-1"), zip=len(note) > 50_000)
    image.save(buffer, "png", pnginfo=info)
    return buffer.getvalue()


def noted_pngs(data: bytes) -> Strategy[Damaged]:
    """PNGs of bridge-nerf whose note has other values, or which are other images, or torn."""
    noted = json_files(note_of(data)).map(lambda made: Damaged(made.what, with_note(data, made.data)))
    return st.one_of(noted, noted, noted, pngs(data))


def archives(data: bytes) -> Strategy[Damaged]:
    """Files of NumPy (npz) with other arrays, with a program, with a header that lies, or torn."""
    with np.load(io.BytesIO(data)) as file:
        arrays = {name: file[name] for name in file}
    program = np.empty(1, dtype=object)
    program[0] = Trap()
    odd = {
        "a number": np.array(1.0),
        "a text": np.array("x"),
        "texts": np.array(["a", "b"]),
        "nothing": np.zeros(0),
        "NaN": np.array(np.nan),
        "whole numbers": np.zeros((2, 3), np.int64),
        "bytes of another shape": np.zeros((1, 3, 5, 7), np.uint8),
        "JSON of a list": np.array("[]"),
        "JSON that is torn": np.array("{"),
        "deep JSON": np.array("[" * 100_000),
        "complex numbers": np.zeros(3, complex),
        "dates": np.array(["2020-01-01"], dtype="datetime64[D]"),
        "a program": program,
    }

    def written(what: str, arrays: dict[str, np.ndarray]) -> Damaged:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        return Damaged(what, buffer.getvalue())

    names = st.sampled_from(list(arrays))
    others = st.sampled_from(list(odd.items()))
    replaced = st.builds(
        lambda name, other: written(f"{name} is {other[0]}", arrays | {name: other[1]}), names, others
    )
    removed = names.map(lambda name: written(f"no {name}", {k: v for k, v in arrays.items() if k != name}))
    added = others.map(lambda other: written(f"{other[0]} too", arrays | {"unknown": other[1]}))

    def lying(name: str, shape: str) -> Damaged:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
            for other, array in arrays.items():
                member = io.BytesIO()
                np.save(member, array)
                if other == name:
                    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117)
                    member = io.BytesIO(b"\x93NUMPY\x01\x00v\x00" + header.encode() + b"\n" + bytes(100))
                file.writestr(f"{other}.npy", member.getbuffer())
        return Damaged(f"{name} has a header of {shape}", buffer.getvalue())

    shapes = st.sampled_from(("(10**9,)", "(1000000000000000,)", "(-1,)", "(3, 1000000000)", "'x'", "()"))
    return st.one_of(replaced, replaced, removed, added, st.builds(lying, names, shapes), torn(data))


def tensor_files(data: bytes) -> Strategy[Damaged]:
    """Files of safetensors whose header has other values, or torn."""
    (length,) = struct.unpack("<Q", data[:8])
    header, weights = data[8 : 8 + length], data[8 + length :]

    def written(made: Damaged) -> Damaged:
        return Damaged(made.what, struct.pack("<Q", len(made.data)) + made.data + weights)

    fewer = json.loads(header)
    kept = {name: fewer[name] for name in list(fewer)[:6]}
    few = json_trees(json.dumps(kept).encode()).map(written)
    return st.one_of(json_trees(header).map(written), few, torn(data))


SPECIAL = ("a folder", "a pipe", "a circle of links", "zeros without end", "the kernel's log")
"""What may stand where a file is looked for."""


def put_special(path: Path, what: str) -> None:
    """Put one of `SPECIAL` where the file was."""
    path.unlink(missing_ok=True)
    if what == "a folder":
        path.mkdir()
    elif what == "a pipe":
        os.mkfifo(path)
    elif what == "a circle of links":
        path.symlink_to(path.name)
    else:
        path.symlink_to({"zeros without end": "/dev/zero", "the kernel's log": "/proc/kmsg"}[what])
