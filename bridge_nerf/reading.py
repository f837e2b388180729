"""The one way in for what a file says: regular files of bounded size, and values of the types that are asked
for. Whatever else a file holds is a `UserError` of one sentence.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import stat
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import GenericAlias
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import msgspec

from bridge_nerf.errors import UserError, first_line

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

MAX_BYTES = 2**32
"""Size of the largest file that is read whole."""
MAX_TEXT_BYTES = 2**26
"""Size of the largest text that is read."""
MAX_ARRAY_BYTES = 2**34
"""Size of the largest arrays that are read, unpacked."""


def read_bytes(path: Path, most: int = MAX_BYTES) -> bytes:
    """The content of a regular file; see `opened`."""
    with opened(path, most) as file:
        try:
            # No more than the file is said to have: some files of the kernel's have no end.
            return file.read(os.fstat(file.fileno()).st_size)
        except OSError as error:
            raise _unreadable(path, error) from None


def opened(path: Path, most: int = MAX_BYTES) -> BinaryIO:
    """A regular file, open for reading: never a device or a pipe, which may have no end.

    Raises:
        UserError: There is no such file, it is none, it may not be read, or it has more than `most` bytes.
    """
    try:
        file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; give a file") from None
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError as error:  # of a name that no file can have
        raise UserError(f"there is no file {str(path)!r}: {first_line(error)}") from None
    state = os.fstat(file.fileno())
    if stat.S_ISREG(state.st_mode) and state.st_size <= most:
        return file
    file.close()
    if not stat.S_ISREG(state.st_mode):
        raise UserError(f"{path} is a device or a pipe; give a file")
    raise UserError(f"{path} has {state.st_size:_} bytes; give a file of at most {most:_}")


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path} cannot be read: {error.strerror or first_line(error)}")


def _open_without_waiting(path: str, flags: int) -> int:
    # Opening a pipe would wait for a writer.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_text(path: Path) -> str:
    """The text of a user's file in UTF-8, with or without the mark that Windows puts first.

    Raises:
        UserError: It cannot be read (`read_bytes`), is in another encoding, or not text.
    """
    data = read_bytes(path, MAX_TEXT_BYTES)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{path} is text in UTF-16; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8 (byte {error.start}); save it as UTF-8") from None
    if "\0" in text:  # as in UTF-16 without its mark
        raise UserError(f"{path} is not text in UTF-8 (it holds zeros); save it as UTF-8")
    return text


def read_json(path: Path, kind: type[T] | GenericAlias, cure: str) -> T:
    """The value of a type that a JSON file holds; see `read_text` and `parsed`."""
    return parsed(kind, read_text(path), str(path), cure)


def parsed(kind: type[T] | GenericAlias, text: str | bytes, where: str, cure: str) -> T:
    """The value of a type, such as a dataclass, that JSON says; see `checked`.

    Raises:
        UserError: It is not JSON, or something else.
    """
    try:
        values = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} cannot be read ({_reason(error)}); {cure}") from None
    return checked(kind, values, where, cure)


def checked(kind: type[T] | GenericAlias, values: Any, where: str, cure: str) -> T:
    """Plain values (dictionaries, lists, numbers, texts) as a type, such as a dataclass.

    Types are strict: no text counts as a number. Fields that are missing have their defaults; there is none
    that the type does not have. What a dataclass checks when it is made, in its __post_init__, is checked.

    Args:
        where: Whose values they are, for messages.
        cure: What the user can do, as the end of a sentence.

    Raises:
        UserError: They are something else.
    """
    try:
        value = msgspec.convert(values, kind)
    except (ValueError, RecursionError, OverflowError) as error:
        raise UserError(f"{where} cannot be read ({_reason(error)}); {cure}") from None
    if odd := _unknown(values, msgspec.to_builtins(value)):
        raise UserError(f"{where} cannot be read (nothing here is called {odd[:80]!r}); {cure}")
    return value


def _unknown(values: Any, known: Any) -> str | None:
    """The first key of the values, or of those in them, that the known ones do not have."""
    if isinstance(values, Mapping) and isinstance(known, Mapping):
        pairs = [(value, known[key]) for key, value in values.items() if key in known]
        odd = next((key for key in values if key not in known), None)
    elif isinstance(values, list | tuple) and isinstance(known, list | tuple):
        pairs, odd = list(zip(values, known, strict=True)), None
    else:
        return None
    return odd if odd is not None else next((name for pair in pairs if (name := _unknown(*pair))), None)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] if not isinstance(error, RecursionError) else "nested too deep"


def read_rows(path: Path, cure: str) -> list[dict[str, str]]:
    """The rows of a CSV file with a header, which has a column "step" of whole numbers from 0 on.

    Raises:
        UserError: It is something else.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path), newline=""), restval=""))
        for number, row in enumerate(rows, 1):
            if None in row or not row["step"].isdecimal() or len(row["step"]) > 18:
                raise ValueError(f"row {number} has another form")
    except (ValueError, KeyError, csv.Error) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is not the log of a run ({first_line(error)}); {cure}") from None
    return rows


def read_tensors(path: Path, kind: type[T] | GenericAlias, cure: str) -> T:
    """What `torch.save` wrote, on the CPU: tensors, numbers, texts and collections of them. Nothing in a file
    is run, as unpickling would.

    Args:
        kind: Type, such as a dataclass of the entries of a dictionary; those it does not have are left out.

    Raises:
        UserError: The file is torn, or holds something else.
    """
    import torch

    data = io.BytesIO(read_bytes(path))
    try:
        with warnings.catch_warnings(action="ignore"):  # of what it finds in bytes that it then refuses
            values = torch.load(data, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever broken bytes lead to
        raise UserError(
            f"{path} is torn or not a checkpoint at all ({type(error).__name__}); {cure}"
        ) from None
    try:
        return msgspec.convert(values, kind)
    # It takes a tensor in the place of a dictionary for something that has keys.
    except (ValueError, AttributeError, RecursionError, OverflowError) as error:
        raise UserError(f"{path} is another kind of checkpoint ({_reason(error)}); {cure}") from None


def read_arrays(path: Path, kinds: Mapping[str, tuple[str, int]], cure: str) -> dict[str, np.ndarray]:
    """The arrays that `numpy.savez` wrote, by name; numbers are finite.

    Args:
        kinds: Name -> (kind of its entries, as in "f" for numpy's `dtype.kind`, number of its axes).

    Raises:
        UserError: The file is torn, or holds something else.
    """
    import numpy as np

    with opened(path, MAX_ARRAY_BYTES) as file:
        try:
            if sum(part.file_size for part in zipfile.ZipFile(file).infolist()) > MAX_ARRAY_BYTES:
                raise ValueError("it holds too much")
            file.seek(0)
            with np.load(file) as parts:
                arrays = {name: parts[name] for name in kinds}
            for name, array in arrays.items():
                if (array.dtype.kind, array.ndim) != kinds[name]:
                    raise ValueError(f"{name} is of another kind")
                if array.dtype.kind == "f" and not np.isfinite(array).all():
                    raise ValueError(f"{name} holds numbers that are not finite")
        except Exception as error:  # zip files raise whatever broken bytes lead to
            reason = " ".join(first_line(error).split())[:200]
            raise UserError(f"{path} is torn, or something else ({reason}); {cure}") from None
    return arrays
