"""The files of a pipeline, on a disk or on the hub, and checks that they are complete.

Nothing heavy is imported here, so that a wrong folder is reported at once.
"""

import json
import os
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, TypedDict

import msgspec

from bridge_nerf.errors import UserError
from bridge_nerf.priors.families import PIPELINES, Family, tokenizer_of
from bridge_nerf.reading import checked, opened, parsed, read_text

TOKENIZERS = {"tokenizer.json": (), "vocab.json": ("merges.txt",), "spiece.model": ()}
"""Forms in which a tokenizer is stored: a file -> the files that go with it."""


def read_index(folder: Path) -> dict[str, Any]:
    """Content of model_index.json. UserError where folder or file is missing or damaged."""
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: give the folder of a pipeline")
    index = folder / "model_index.json"
    if not index.exists():
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        tops = [
            pipeline_above(folder),
            *(file.parent for file in folder.glob("snapshots/*/model_index.json")),
        ]
        top = next((f"its top folder, {top}" for top in tops if top), "a pipeline's top folder")
        raise UserError(f"{folder} has no model_index.json (found: {found}): give {top}")
    try:
        content = json.loads(read_text(index))
        if not isinstance(content["_class_name"], str):
            raise TypeError("_class_name is no name")
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{index} cannot be read ({error}): download the pipeline again") from None
    return content


def pipeline_above(path: Path) -> Path | None:
    """The folder of the pipeline that a file or a component's folder belongs to; None where it does not."""
    return next(
        (folder for folder in list(path.parents)[:2] if (folder / "model_index.json").is_file()), None
    )


_Whole = Annotated[int, msgspec.Meta(ge=0)]


class _Tensor(TypedDict):
    """The entry of a tensor in the header of a safetensors file."""

    dtype: str
    shape: list[_Whole]
    data_offsets: tuple[_Whole, _Whole]


def read_header(file: Path) -> Mapping[str, Any]:
    """Name -> dtype, shape and offsets of every tensor in a safetensors file; no weights are read.

    Raises:
        UserError: It is damaged, or cut short.
    """
    with opened(file, most=sys.maxsize) as stream:
        size = os.fstat(stream.fileno()).st_size  # no more is read: some files of the kernel's have no end
        length = int.from_bytes(stream.read(min(8, size)), "little")
        header = stream.read(min(length, size))
    values = parsed(dict[str, Any], header, str(file), cure := "download it again")
    values.pop("__metadata__", None)
    tensors = checked(dict[str, _Tensor], values, str(file), cure)
    end = 8 + length + max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
    if end != size:
        raise UserError(f"{file} has {size} bytes instead of {end}: download it again")
    return tensors


def family_of(kind: object, where: object) -> Family:
    """The family of a pipeline's class name. UserError, naming `where`, for one that cannot be a prior."""
    if kind not in PIPELINES:
        known = ", ".join(dict.fromkeys(family.pipelines[0] for family in PIPELINES.values()))
        raise UserError(f'{where} is a {kind}; a prior can be one of {known}, or "toybox"')
    return PIPELINES[str(kind)]


def components_of(family: Family, index: dict[str, Any]) -> tuple[str, ...]:
    """Folders of the networks and text encoders that this pipeline has."""
    entries = {name: index.get(name) for name in family.optional}
    left_out = {name for name, entry in entries.items() if not isinstance(entry, list) or None in entry}
    return tuple(name for name in (*family.networks, *family.text_encoders) if name not in left_out)


def files_in(folder: Path) -> list[str]:
    """Paths of all files, relative to the folder."""
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def choose_weights(
    files: Collection[str], family: Family, component: str, half: bool
) -> tuple[str | None, list[str]]:
    """(variant, weight files) of a component among relative paths: half or full precision, else the other.

    Only whole sets of safetensors count; (None, []) where there is none.
    """
    found: dict[str | None, list[str]] = {}
    stem = family.weights(component)
    pattern = re.compile(rf"{component}/{stem}(?:\.(fp16))?(?:-\d+-of-(\d+))?\.safetensors")
    parts: dict[str | None, int] = {}
    for file in sorted(files):
        if match := pattern.fullmatch(file):
            found.setdefault(match[1], []).append(file)
            parts[match[1]] = int(match[2] or 1)
    for variant in ("fp16", None) if half else (None, "fp16"):
        if variant in found and len(found[variant]) >= parts[variant]:
            return variant, found[variant]
    return None, []


def needed_files(files: Sequence[str], family: Family, half: bool) -> list[str]:
    """The part of a repository that a prior reads: one variant of the weights, no safety checker."""
    components = (*family.networks, *family.text_encoders)
    folders = {*components, *map(tokenizer_of, family.text_encoders), "scheduler"}
    texts = [
        file
        for file in files
        if file in ("model_index.json", "words.json")
        or (file.split("/")[0] in folders and file.endswith((".json", ".txt", "spiece.model")))
    ]
    return texts + [
        file for component in components for file in choose_weights(files, family, component, half)[1]
    ]


def check_folder(folder: Path) -> Family:
    """The pipeline's family. UserError naming what is missing and the fix, unless it is complete."""
    index = read_index(folder)
    family = family_of(index["_class_name"], folder)
    files = set(files_in(folder))
    components = components_of(family, index)
    for config in (*(f"{name}/config.json" for name in components), "scheduler/scheduler_config.json"):
        if config not in files:
            raise UserError(f"{folder} has no {config}: download or save the pipeline again")
    for name in components:
        _check_weights(folder, files, family, name)
    for file in (file for half in (True, False) for file in needed_files(sorted(files), family, half)):
        # A list of merges may be empty: words that are in the vocabulary whole need none.
        if (folder / file).stat().st_size == 0 and not (file.endswith(".txt") and _is_empty(folder / file)):
            raise UserError(f"{folder / file} is empty: download or save the pipeline again")
    for name in components:
        if name in family.text_encoders:
            _check_tokenizer(folder, files, tokenizer_of(name))
    return family


def _is_empty(file: Path) -> bool:
    """False for a file of the kernel's, which says that it is empty and may have no end: libraries would read
    on."""
    with opened(file) as stream:
        try:
            return stream.read(1) == b""
        except OSError:
            return False


def _check_weights(folder: Path, files: set[str], family: Family, component: str) -> None:
    if not choose_weights(files, family, component, half=False)[1]:
        found = ", ".join(sorted(file for file in files if file.startswith(f"{component}/")))
        raise UserError(
            f"{folder} has no weights of the {component}, or not all: looked for "
            f"{component}/{family.weights(component)}.safetensors, found {found}; download them, or save the "
            "pipeline again as safetensors"
        )


def _check_tokenizer(folder: Path, files: set[str], tokenizer: str) -> None:
    forms = [(first, *rest) for first, rest in TOKENIZERS.items()]
    found = [form[0] for form in forms if files.issuperset(f"{tokenizer}/{file}" for file in form)]
    if not found:
        wanted = " or ".join(" with ".join(f"{tokenizer}/{file}" for file in form) for form in forms)
        raise UserError(f"{folder} has no vocabulary: looked for {wanted}; download the tokenizer files")
    if found == ["spiece.model"] and find_spec("sentencepiece") is None:
        raise UserError(
            f"the {tokenizer} in {folder} is a SentencePiece model, which needs a package that is not "
            "installed: pip install sentencepiece"
        )
