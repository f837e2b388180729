"""Every type and shape that a signature promises is checked while the tests run."""

from collections.abc import Iterator

import pytest
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

typechecker = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""Takes an int for a float, as PEP 484 does."""

install_import_hook("bridge_nerf", "tests.conftest.typechecker")


@pytest.fixture(scope="session", autouse=True)
def plain_processor() -> Iterator[None]:
    """Tests take the same path on every machine: of a processor that can do nothing special."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bridge_nerf.priors.processor.capabilities", dict)
        yield
