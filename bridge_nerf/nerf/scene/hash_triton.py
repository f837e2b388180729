"""The hash encoding's two loops as Triton kernels, for CUDA; letters as in `hash_encoding`.

One program takes a block of points at one level, and writes nothing but the answer to memory. Compared with
the torch loops in Triton's interpreter on a CPU; not run on a GPU.
"""
# Triton declares that a kernel, called from another, never returns.
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

BLOCK = 256
"""Points of one program."""


def read(
    table: Float[Tensor, "rows f"], x: Float[Tensor, "k 3"], resolutions: Float[Tensor, "levels"]
) -> Float[Tensor, "k c"]:
    """Features (k, levels * f) at x in [0, 1]^3, all contiguous float32 on one device."""
    features = x.new_empty(len(x), len(resolutions) * table.shape[1])
    _launch(_read, table, x, resolutions, features)
    return features


def spread(
    table: Float[Tensor, "rows f"],
    x: Float[Tensor, "k 3"],
    resolutions: Float[Tensor, "levels"],
    gradient: Float[Tensor, "k c"],
) -> Float[Tensor, "rows f"]:
    """The gradient of the table, by that of the features; added up in no fixed order."""
    total = torch.zeros_like(table)
    _launch(_spread, total, x, resolutions, gradient)
    return total


def _launch(kernel, table: Tensor, x: Tensor, resolutions: Tensor, features: Tensor) -> None:
    levels, (rows, width) = len(resolutions), table.shape
    if len(x):  # a grid has one program at least
        with torch.cuda.device_of(x):
            kernel[(triton.cdiv(len(x), BLOCK), levels)](
                table, x, resolutions, features, len(x), levels, rows // levels, width, BLOCK
            )


@triton.jit
def _cell(x, resolutions, point, there, level, axis: tl.constexpr):
    scaled = tl.load(x + 3 * point + axis, mask=there, other=0.0) * tl.load(resolutions + level)
    low = tl.floor(scaled)
    return low.to(tl.int32), scaled - low


@triton.jit
def _corner(i, j, k, u, v, w, level, CORNER: tl.constexpr, ROWS: tl.constexpr):
    a: tl.constexpr = CORNER & 1
    b: tl.constexpr = (CORNER >> 1) & 1
    c: tl.constexpr = CORNER >> 2
    key = (i + a) ^ ((j + b) * -1640531535) ^ ((k + c) * 805459861)
    share = (u if a else 1 - u) * (v if b else 1 - v) * (w if c else 1 - w)
    return (key & (ROWS - 1)) + level * ROWS, share


# Their number differs at every step; Triton would compile anew for a multiple of 16.
@triton.jit(do_not_specialize=["count"])
def _read(
    table, x, resolutions, features, count,
    LEVELS: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    point, level = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1)
    there, feature = point < count, tl.arange(0, WIDTH)[None, :]
    i, u = _cell(x, resolutions, point, there, level, 0)
    j, v = _cell(x, resolutions, point, there, level, 1)
    k, w = _cell(x, resolutions, point, there, level, 2)
    total = tl.zeros([BLOCK, WIDTH], tl.float32)
    for corner in tl.static_range(8):
        row, share = _corner(i, j, k, u, v, w, level, corner, ROWS)
        total += share[:, None] * tl.load(table + row[:, None] * WIDTH + feature)
    place = (point[:, None] * LEVELS + level) * WIDTH + feature
    tl.store(features + place, total, mask=there[:, None])


@triton.jit(do_not_specialize=["count"])
def _spread(
    table, x, resolutions, features, count,
    LEVELS: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    point, level = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1)
    there, feature = point < count, tl.arange(0, WIDTH)[None, :]
    i, u = _cell(x, resolutions, point, there, level, 0)
    j, v = _cell(x, resolutions, point, there, level, 1)
    k, w = _cell(x, resolutions, point, there, level, 2)
    place = (point[:, None] * LEVELS + level) * WIDTH + feature
    asked = tl.load(features + place, mask=there[:, None], other=0.0)
    for corner in tl.static_range(8):
        row, share = _corner(i, j, k, u, v, w, level, corner, ROWS)
        tl.atomic_add(
            table + row[:, None] * WIDTH + feature, share[:, None] * asked, there[:, None], sem="relaxed"
        )
