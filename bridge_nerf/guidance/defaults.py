"""Numbers that both halves take for a kind of prior, and words of the field's authors."""

from __future__ import annotations

from bridge_nerf.distillation.config import ObjectiveConfig

NFSD_NEGATIVE = (
    "unrealistic, blurry, low quality, out of focus, ugly, low contrast, dull, dark, low-resolution, gloomy"
)
"""The negative prompt of nfsd's authors (Katzir et al. 2023)."""
TOYBOX_OBJECTIVE = ObjectiveConfig(
    guidance_scale=5.0, stage_two_scale=1.25, stage_two_anchor=1.0, stage_two_guidance=4.0
)
"""Little guidance, and a stage two in which a part of the null estimate is the source's."""
