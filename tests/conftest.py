"""Every type and shape that a signature promises is checked while the tests run."""

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

typechecker = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""Takes an int for a float, as PEP 484 does."""

install_import_hook("bridge_nerf", "tests.conftest.typechecker")
