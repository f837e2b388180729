"""`bridge-nerf doctor`."""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass
class Doctor:
    """Check the installation: packages, GPU, programs, models in the cache. Prints each problem with its fix;
    the exit code is 1 where there is one.
    """

    def run(self) -> None:
        from bridge_nerf.doctor import report

        if report():
            sys.exit(1)
