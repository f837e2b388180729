"""Measures of colour, blur, and the named background colours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

BACKGROUNDS: dict[str, tuple[float, float, float]] = {
    "white": (1.0, 1.0, 1.0),
    "gray": (0.55, 0.55, 0.56),
    "black": (0.10, 0.10, 0.11),
    "blue": (0.60, 0.80, 0.95),
}
"""Name -> RGB in [0, 1]."""
LUMA = (0.299, 0.587, 0.114)


def luma(x: Float[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b 1 h w"]:
    """Rec. 601 luma."""
    return (x * x.new_tensor(LUMA)[:, None, None]).sum(-3, keepdim=True)


def saturation(x: Float[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b h w"]:
    """HSV saturation a pixel: (max - min) / max."""
    high, low = x.amax(-3), x.amin(-3)
    return (high - low) / high.clamp_min(1e-3)


def gaussian(x: Float[Tensor, "c h w"], sigma: float) -> Float[Tensor, "c h w"]:
    """Gaussian blur with standard deviation `sigma` pixels and replicated borders."""
    radius = max(1, int(3 * sigma))
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=x.device) / sigma) ** 2).to(x.dtype)
    taps = taps / taps.sum()
    x = F.conv2d(F.pad(x[:, None], (radius, radius, 0, 0), mode="replicate"), taps.view(1, 1, 1, -1))
    return F.conv2d(F.pad(x, (0, 0, radius, radius), mode="replicate"), taps.view(1, 1, -1, 1))[:, 0]
