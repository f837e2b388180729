"""The multiresolution hash encoding (Instant-NGP, Mueller et al. 2022, section 3).

Each of L levels lays a grid of its own resolution over [0, 1]^3 and has a table of T rows of F features. A
point reads the 8 corners of its cell, weighted trilinearly; corner (a, b, c) has the row

    h(a, b, c) = (a ^ b p_1 ^ c p_2) mod T,

of which, T being a power of two, the low bits of 32 are all that is needed.

Two kernels give the same answer to rounding: "torch", and "triton" (`hash_triton`) on CUDA. On CUDA both add
up the table's gradient in no fixed order: a run there is not repeated, or resumed, bit for bit.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bridge_nerf.errors import UserError

Kernel = Literal["auto", "torch", "triton"]
ROWS = 2**19
"""T, number of rows of one level's table."""
FEATURES = 2
"""F, number of features of each level."""
COARSEST = 16
"""Cells a side of the first level."""
PRIMES = (1, 2654435761 - 2**32, 805459861)
"""1, p_1 and p_2 as signed integers of 32 bits."""
AT_ONCE = 2**16
"""Points whose corners are held in memory together."""


class HashEncoding(nn.Module):
    """Features of points in [0, 1]^3: (k, 3) -> (k, levels * 2).

    Names, shapes and values are those of nerfstudio's `HashEncoding(implementation="torch")`.

    Args:
        levels: L; resolutions grow geometrically from 16 to `finest`, rounded down.
        finest: Cells a side of the last level.
        kernel: "triton" on CUDA alone; "auto" takes it where it can be had.
    """

    def __init__(self, levels: int, finest: int, kernel: Kernel = "auto") -> None:
        super().__init__()
        self.kernel: Kernel = kernel
        self.out_dim = levels * FEATURES
        growth = math.exp((math.log(finest) - math.log(COARSEST)) / (levels - 1)) if levels > 1 else 1.0
        self.hash_table = nn.Parameter((torch.rand(ROWS * levels, FEATURES) * 2 - 1) * 1e-3)
        self.resolutions: Tensor
        self.first_rows: Tensor
        self.primes: Tensor
        for name, value in {
            "resolutions": torch.floor(COARSEST * growth ** torch.arange(levels)),
            "first_rows": torch.arange(levels, dtype=torch.int32) * ROWS,
            "primes": torch.tensor(PRIMES, dtype=torch.int32),
        }.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, x: Float[Tensor, "k 3"]) -> Float[Tensor, "k c"]:
        """Features of the points; the table alone has a gradient.

        Raises:
            NotImplementedError: A gradient of the positions is wanted.
            UserError: Triton was asked for and cannot be had.
        """
        if x.requires_grad and torch.is_grad_enabled():
            raise NotImplementedError("the hash encoding has no gradient of positions; the grid encoding has")
        return _Read.apply(self.hash_table, x.float().contiguous(), self)  # type: ignore[return-value]

    def read(self, table: Float[Tensor, "rows 2"], x: Float[Tensor, "k 3"]) -> Float[Tensor, "k c"]:
        """Weighted sums of the corners' features."""
        if fused(self.kernel, x.device):
            from bridge_nerf.nerf.scene import hash_triton

            return hash_triton.read(table, x, self.resolutions)
        parts = []
        for points in x.split(AT_ONCE):
            index, share = self.corners(points)
            read = F.embedding_bag(index.view(-1, 8), table, per_sample_weights=share.view(-1, 8), mode="sum")
            parts.append(read.view(len(points), self.out_dim))
        return torch.cat(parts)

    def spread(
        self, table: Float[Tensor, "rows 2"], x: Float[Tensor, "k 3"], gradient: Float[Tensor, "k c"]
    ) -> Float[Tensor, "rows 2"]:
        """The gradient of the table, by that of the features."""
        if fused(self.kernel, x.device):
            from bridge_nerf.nerf.scene import hash_triton

            return hash_triton.spread(table, x, self.resolutions, gradient)
        total = torch.zeros_like(table).flatten()
        places = torch.arange(FEATURES, device=x.device, dtype=torch.int32)
        for points, asked in zip(x.split(AT_ONCE), gradient.split(AT_ONCE), strict=True):
            index, share = self.corners(points)
            parts = share.view(-1, 8, 1) * asked.reshape(-1, 1, FEATURES)
            # A flat table: torch's CPU loop is slow over rows as short as these.
            total.index_add_(0, (index.view(-1, 1) * FEATURES + places).flatten(), parts.flatten())
        return total.view_as(table)

    def corners(
        self, x: Float[Tensor, "k 3"]
    ) -> tuple[Int[Tensor, "k levels 2 2 2"], Float[Tensor, "k levels 2 2 2"]]:
        """Rows of all levels' corners, and their weights."""
        scaled = x[:, None] * self.resolutions[:, None]
        low = scaled.floor()
        key = low.int() * self.primes
        keys, above = torch.stack([key, key + self.primes], -1), scaled - low
        shares = torch.stack([1 - above, above], -1)
        a, b, c = keys.unbind(2)
        index = (a[..., :, None, None] ^ b[..., None, :, None] ^ c[..., None, None, :]) & (ROWS - 1)
        a, b, c = shares.unbind(2)
        share = a[..., :, None, None] * b[..., None, :, None] * c[..., None, None, :]
        return index + self.first_rows[:, None, None, None], share


class _Read(torch.autograd.Function):
    """Corners are found again for the gradient: to keep them would take 64 bytes a point and level."""

    @staticmethod
    def forward(ctx, table: Tensor, x: Tensor, encoding: HashEncoding) -> Tensor:
        ctx.save_for_backward(table, x)
        ctx.encoding = encoding
        return encoding.read(table, x)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore
        table, x = ctx.saved_tensors
        return ctx.encoding.spread(table, x, gradient.float().contiguous()), None, None


def fused(kernel: Kernel, device: torch.device) -> bool:
    """True where the encoding takes the Triton kernel.

    Raises:
        UserError: It was asked for and cannot be had.
    """
    if kernel == "torch":
        return False
    why_not = without_triton(device)
    if kernel == "triton" and why_not:
        raise UserError(f"--pipeline.model.field.hash-kernel triton {why_not}; give torch, or auto")
    return why_not is None


@cache
def without_triton(device: torch.device) -> str | None:
    """Reason why Triton cannot be had on a device; None where it can.

    It is tried: beside the package it wants a compiler of C, which a small machine may lack.
    """
    if device.type != "cuda":
        return "wants a CUDA device"
    try:
        from bridge_nerf.nerf.scene import hash_triton

        one = torch.zeros(1, 3, device=device)
        hash_triton.read(torch.zeros(ROWS, FEATURES, device=device), one, one[0, :1])
    except Exception as error:  # whatever its compiler and its driver raise
        return f"does not run here ({type(error).__name__}: {str(error).strip().partition(chr(10))[0]})"
    return None
