"""What the tests of the APIs share."""

from __future__ import annotations

import pytest
from fake_reranker import FakeReranker

FIVE = ["together", "generic", "portkey", "contextual", "cohere"]


@pytest.fixture
def fake() -> FakeReranker:
    return FakeReranker()
