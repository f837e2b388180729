"""Ranges of the flags of `bridge-nerf` that are alike in all commands."""

from __future__ import annotations

from collections.abc import Mapping

from bridge_nerf.flags import SEED, STEPS, Range

RANGES: Mapping[str, Range] = {
    "count": Range(1, 1024),
    "batch": Range(1, 1024),
    "steps": STEPS,
    "seed": SEED,
    "size": Range(1, 8192),
    "devices": Range(1, 1024),
    "workers": Range(0, 1024),
}
"""Ranges by flag."""
