"""`ns-train bridge-distill`.

nerfstudio imports this module at every one of its commands, and an exception here would break them all, for
other methods too. So it stays light (no diffusion network is imported, directly or not) and never raises.
"""

from __future__ import annotations

import warnings

try:
    from nerfstudio.plugins.types import MethodSpecification

    from .presets import DESCRIPTION, bridge_distill_config

    bridge_distill = MethodSpecification(config=bridge_distill_config(), description=DESCRIPTION)
except Exception as error:  # nerfstudio skips what is no MethodSpecification, with a warning of its own
    warnings.warn(f"the method bridge-distill is not available: {error!r}", stacklevel=2)
    bridge_distill = None
