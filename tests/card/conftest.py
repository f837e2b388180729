"""A pretended card for a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.card.memory import Ledger
from tests.card.pretended import pretended_card


@pytest.fixture
def card() -> Iterator[Ledger]:
    """There is a card while the test runs."""
    with pretended_card() as ledger:
        yield ledger
