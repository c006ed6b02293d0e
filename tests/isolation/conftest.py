"""What is logged is kept in memory: a service in this process has no log of its own."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """Every event that was logged in this test."""
    with capture_logs() as events:
        yield events
