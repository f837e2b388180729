"""The radiance field: features read from the unit ball, a small network that turns them into density and
colour.

Letters: x a position (the object lives in |x| < 1); r(x) = network(x) + blob(x) the raw density; sigma(x)
the density per unit length: exp(r) where it is thin, bounded by PEAK where it is opaque, where more would
only kill the gradient. blob(x) = height (1 - |x| / radius), fixed, so that training starts from a soft ball
in the middle (Magic3D, Lin et al. 2023, section 3) and empty space stays empty until something grows into
it. Colour does not depend on the view.

Two encodings: "grid", dense feature grids of a few resolutions read by `grid_sample`, far the faster on a
CPU, and "hash", a hash grid, for fine detail on a GPU.

A run on a CPU is repeated, or resumed, bit for bit only with the same number of threads: it decides in which
order gradients of the grids are added up. On CUDA no order is fixed, and no run is repeated bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from bridge_nerf.flags import Range
from bridge_nerf.nerf.scene.hash_encoding import HashEncoding, Kernel

PEAK = 200.0
"""Largest density per unit length: 99.9 % opaque over a thirtieth of the unit."""


@dataclass
class FieldConfig:
    """The field's size and its starting blob."""

    RANGES: ClassVar[dict[str, Range]] = {
        "grid_resolutions": Range(1, 2048),
        "grid_features": Range(1, 1024),
        "hash_levels": Range(1, 64),
        "hash_max_resolution": Range(1, 2**20),
        "hidden": Range(1, 2**16),
        "blob_height": Range(-1000, 1000),
        "blob_radius": Range(above=0, most=1000),
    }

    encoding: Literal["grid", "hash"] = "grid"
    """Dense feature grids ("grid"), fast on a CPU, or the hash encoding ("hash"), for fine detail on a
    GPU."""
    grid_resolutions: tuple[int, ...] = (24, 64)
    """Cells a side of each dense grid ("grid" only)."""
    grid_features: int = 4
    """Features read from each dense grid ("grid" only)."""
    hash_levels: int = 12
    """Levels of the hash encoding ("hash" only)."""
    hash_max_resolution: int = 512
    """Finest resolution of the hash encoding ("hash" only)."""
    hash_kernel: Kernel = "auto"
    """Kernel of the hash encoding ("hash" only): "triton" wants a CUDA device, "torch" takes any, "auto" is
    Triton where it runs."""
    hidden: int = 32
    """Width of the network's hidden layer."""
    blob_height: float = 6.0
    """Logarithm of the starting density in the middle."""
    blob_radius: float = 0.45
    """Distance from the middle at which the starting log density is 0."""


class GridEncoding(nn.Module):
    """Trilinear features of dense grids over [-1, 1]^3, concatenated: (k, 3) -> (k, len(resolutions) *
    features)."""

    def __init__(self, resolutions: tuple[int, ...], features: int) -> None:
        super().__init__()
        # A point reads all features of a corner: they lie side by side.
        self.grids = nn.ParameterList(
            nn.Parameter((1e-2 * torch.randn(1, features, r, r, r)).to(memory_format=torch.channels_last_3d))
            for r in resolutions
        )
        self.out_dim = features * len(resolutions)

    def forward(self, x: Float[Tensor, "k 3"]) -> Float[Tensor, "k c"]:
        # torch's CPU kernel works on one thread per batch entry: the points are dealt into as many entries.
        dealt = torch.get_num_threads() if x.device.type == "cpu" else 1
        padded = F.pad(x, (0, 0, 0, -len(x) % dealt)).view(dealt, 1, 1, -(-len(x) // dealt), 3)
        read = [
            F.grid_sample(g.expand(dealt, -1, -1, -1, -1), padded, align_corners=True) for g in self.grids
        ]
        return torch.cat(read, dim=1).permute(0, 2, 3, 4, 1).reshape(-1, self.out_dim)[: len(x)]


class BridgeField(nn.Module):
    """Density and colour of points in the unit ball."""

    def __init__(self, config: FieldConfig) -> None:
        super().__init__()
        self.config = config
        if config.encoding == "grid":
            self.encoding = GridEncoding(config.grid_resolutions, config.grid_features)
        else:
            self.encoding = HashEncoding(config.hash_levels, config.hash_max_resolution, config.hash_kernel)
        # Signs of the field's own axes in the world: half a turn about the vertical one changes two of them.
        self.axes: Tensor
        self.register_buffer("axes", torch.ones(3))
        width = self.encoding.out_dim
        self.network = nn.Sequential(nn.Linear(width, config.hidden), nn.ReLU(), nn.Linear(config.hidden, 4))

    def turn_around(self) -> None:
        """Turn what the field holds by half a turn about the vertical axis."""
        self.axes *= self.axes.new_tensor([-1.0, -1.0, 1.0])

    def encode(self, x: Float[Tensor, "k 3"]) -> Float[Tensor, "k c"]:
        """Features at x; the hash grid covers [0, 1]^3, the dense ones [-1, 1]^3."""
        own = x * self.axes
        return self.encoding(own if self.config.encoding == "grid" else (own + 1) / 2)

    def blob(self, x: Float[Tensor, "k 3"]) -> Float[Tensor, "k"]:
        """The fixed part of the log density."""
        return self.config.blob_height * (1 - x.norm(dim=-1) / self.config.blob_radius)

    def forward(self, x: Float[Tensor, "k 3"]) -> tuple[Float[Tensor, "k"], Float[Tensor, "k 3"]]:
        """Density per unit length (>= 0) and colour in [0, 1] at x."""
        # The network with points as columns: on a CPU far faster than rows as short as its layers.
        hidden, last = (layer for layer in self.network if isinstance(layer, nn.Linear))
        active = torch.addmm(hidden.bias[:, None], hidden.weight, self.encode(x).T).relu_()
        raw = torch.addmm(last.bias[:, None], last.weight, active)
        return PEAK * (raw[0] + self.blob(x) - math.log(PEAK)).sigmoid(), raw[1:].T.sigmoid()
