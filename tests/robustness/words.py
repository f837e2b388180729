"""Values that people and programs put behind flags, by the type of the flag."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from bridge_nerf.flags import Leaf, leaves

WHOLE = ("0", "-1", "1", "2", "31", "4096", "100000", "4294967296", "9" * 20, "-" + "9" * 20)
"""Whole numbers."""
NUMBERS = (*WHOLE, "0.5", "-0.5", "1e-320", "1e300", "1e400", "nan", "inf", "-inf")
"""Numbers."""
NO_NUMBERS = ("9" * 5000, "", "x", "1_000", "0x10", "１", " 5", "1,5", "None", "True", "--")
"""Texts that look like numbers, or not at all."""
TEXTS = (
    "",
    " ",
    ",,, , ,",
    ".",
    "a\nb",
    "caf\udce9",
    "a" * 5000,
    "a duck",
    "[red]markup[/]",
    "{0}",
    "%s",
    "-",
    "auto",
    "all",
    "load",
    "v2",
    "cpu",
    "cpu:1",
    "cuda",
    "cuda:99",
    "mps",
    "meta",
    "float16",
    "sds",
    "vsd",
    "bridge",
    "sds,bridge,,sds",
    "dds",
    "sdxl",
    "toybox",
    "toybox@v2",
    "somebody/nothing",
    "somebody/nothing@v2",
    "https://huggingface.co/somebody/nothing",
    "os:getcwd",
    "no.such.module:attribute",
    "network",
    "pixels",
)
"""Texts, among them names of priors, objectives, devices and precisions."""
PLACES = (
    "nowhere/at/all",
    ".",
    "picture.png",
    "prompts.txt",
    "prompts.txt/below",
    "pipe",
    "loop",
    "zeros",
    "log",
    "x" * 300,
    "caf\udce9.png",
    "a.safetensors",
    "a.png",
    "a.svg",
)
"""Paths in the current folder, which `put_places` fills."""


def put_places() -> None:
    """Put a pipe, a circle of links and links to devices into the current folder."""
    os.mkfifo("pipe")
    Path("loop").symlink_to("loop")
    Path("zeros").symlink_to("/dev/zero")
    Path("log").symlink_to("/proc/kmsg")


def words_for(leaf: Leaf) -> st.SearchStrategy[list[str]]:
    """A flag and the words behind it on a command line: mostly of its type, else of any."""
    any_word = st.sampled_from((*NUMBERS, *NO_NUMBERS, *TEXTS, *PLACES)).map(lambda word: [word])
    own = values_for(hint_of(leaf))
    words = any_word if own is None else own.map(_spelled) | own.map(_spelled) | own.map(_spelled) | any_word
    return words.map(lambda some: [f"--{leaf.flag}", *some])


def _spelled(value: Any) -> list[str]:
    several = value if isinstance(value, tuple | list) else [value]
    return [] if isinstance(value, bool) else [str(part) for part in several]


def hint_of(leaf: Leaf) -> Any:
    """The type of a field, without what tyro notes beside it; Any for an entry of a dictionary."""
    return Any if isinstance(leaf.owner, Mapping) else get_type_hints(type(leaf.owner))[leaf.name]


def values_for(hint: Any) -> st.SearchStrategy[Any] | None:
    """Values of a type, as tyro makes them of words; None for a type that stands on no command line."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return st.sampled_from(parts)
    if origin in (Union, UnionType):
        several = [found for part in parts if (found := values_for(part)) is not None]
        return st.one_of(several) if several else None
    if origin in (tuple, list):
        of = parts[0] if parts else Any
        if (one := values_for(of)) is None:
            return None
        fixed = origin is tuple and Ellipsis not in parts
        numbers = st.lists(one, min_size=len(parts) if fixed else 0, max_size=len(parts) if fixed else 3)
        return numbers.map(origin)
    plain: dict[Any, st.SearchStrategy[Any]] = {
        NoneType: st.none(),
        bool: st.booleans(),
        int: st.sampled_from([int(word) for word in WHOLE]),
        float: st.sampled_from([float(word) for word in NUMBERS]),
        str: st.sampled_from(TEXTS),
        Path: st.sampled_from([Path(place) for place in PLACES]),
    }
    return plain.get(hint)


def valued(config: Any) -> Iterator[tuple[int, Leaf, st.SearchStrategy[Any]]]:
    """(place among the leaves, leaf, its values) of each flag that a command line can have."""
    for place, leaf in enumerate(leaves(config)):
        hint = hint_of(leaf)
        if hint is Any and isinstance(leaf.value, int | float | str):
            hint = type(leaf.value)
        if (values := values_for(hint)) is not None:
            yield place, leaf, values
