"""A run's config.yml, read as data. nerfstudio's own loader makes whatever a file names, and so runs code."""

from __future__ import annotations

import re
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec
import yaml

from bridge_nerf.errors import UserError
from bridge_nerf.reading import read_text

T = TypeVar("T")

PYTHON = "tag:yaml.org,2002:python/"
"""Begin of the tags of classes, functions and calls."""


def read(path: Path, usual: T) -> T:
    """The configuration that a file holds, of the same classes and types as the usual one. Nothing that is
    not in the usual one is made or called.

    Raises:
        UserError: There is no such file, or it holds something else.
    """
    text, known = read_text(path), set(re.findall(r"!!python/(\S+)", yaml.dump(usual)))

    class Loader(yaml.Loader):
        def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
            if (named := str(node.tag)).startswith(PYTHON) and named.removeprefix(PYTHON) not in known:
                raise ValueError(f"it names {named.removeprefix(PYTHON)}, of which a run's has nothing")
            return super().construct_object(node, deep)

    try:
        config = yaml.load(text, Loader=Loader)
        _check_types(config, usual, "it")
    except Exception as error:  # also of dates that are none, of references in a circle, of endless depth
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise UserError(
            f"{path} is not the config.yml of a run of bridge-distill ({reason}); take the command in the "
            "run's commands.txt instead"
        ) from None
    return config


def _check_types(value: Any, usual: Any, name: str) -> None:
    """Raises ValueError where a part, or its type, is another one than usual."""
    if type(value) is not type(usual):
        raise ValueError(f"{name} is {type(value).__name__}, not {type(usual).__name__}")
    if usual is None:
        return
    if isinstance(usual, dict):
        parts, others, hints = usual, value, {}
    else:
        parts, others, hints = vars(usual), vars(value), get_type_hints(type(usual))
    if odd := sorted(map(str, parts.keys() ^ others.keys())):
        raise ValueError(f"{name} lacks or has besides: {', '.join(odd)}")
    for key, mine in parts.items():
        where = f"{name}.{key}".removeprefix("it.")
        hint = hints.get(key, Any)
        if is_dataclass(mine) or Any in (hint, *get_args(hint)):
            _check_types(others[key], mine, where)
        elif isinstance(mine, type) or callable(mine):
            if others[key] is not mine:
                raise ValueError(f"{where} is not {mine.__name__}")
        else:
            try:
                msgspec.convert(others[key], hint, dec_hook=_as_it_is)
            except (ValueError, TypeError) as error:
                raise ValueError(f"{where}: {error}") from None


def _as_it_is(kind: type, value: object) -> object:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r:.40} is no {kind.__name__}")
    return value
