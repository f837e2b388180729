"""`ns-train bridge-distill` and its variants.

nerfstudio imports this module at every one of its commands, and an exception here would break them all, for
other methods too. So it stays light (no diffusion network is imported, directly or not) and never raises.
"""

from __future__ import annotations

import warnings

try:
    from nerfstudio.plugins.types import MethodSpecification

    from .presets import DESCRIPTIONS, variant_config

    _methods = {
        name: MethodSpecification(config=variant_config(name), description=description)
        for name, description in DESCRIPTIONS.items()
    }
except Exception as error:  # nerfstudio skips what is not a MethodSpecification, with a warning
    warnings.warn(f"the method bridge-distill is not available: {error!r}", stacklevel=2)
    _methods = {}

bridge_distill = _methods.get("bridge-distill")
bridge_distill_lite = _methods.get("bridge-distill-lite")
bridge_distill_big = _methods.get("bridge-distill-big")
bridge_distill_tiny = _methods.get("bridge-distill-tiny")
bridge_distill_fine = _methods.get("bridge-distill-fine")
