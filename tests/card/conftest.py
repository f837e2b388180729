"""A pretended card for a test, and small priors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.card.memory import Ledger
from tests.card.pretended import pretended_card
from tests.nerf.conftest import no_writers_left
from tests.priors import tiny_families

__all__ = ["no_writers_left"]
FAMILIES = ("sd-eps", "sdxl", "sd3", "if")


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A tiny pipeline of each family."""
    root = tmp_path_factory.mktemp("families")
    return {name: tiny_families.build(name, root / name) for name in FAMILIES}


@pytest.fixture
def card(folders: Mapping[str, Path]) -> Iterator[Ledger]:
    """There is a card while the test runs; the pipelines were saved before."""
    with pretended_card() as ledger:
        yield ledger
