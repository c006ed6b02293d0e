"""One suite for every store: each test runs once an adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from syncbridge.limits import Limits
from tests.conformance.harness import HARNESSES, Harness, adapters
from tests.conformance.redis_harness import SERVERS

HarnessMaker = Callable[[Limits, int], Harness]


@pytest.fixture(scope="session", autouse=True)
def servers() -> Iterator[None]:
    """Servers that a test of this run started have ended after it, and let the stores do all that they wanted."""
    yield
    refused = SERVERS.refused()
    SERVERS.close()
    assert refused == []


@pytest.fixture(params=adapters(HARNESSES))
def make_harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HarnessMaker]:
    """A store with these limits, empty; closed at the end."""
    made: list[Harness] = []

    def make(limits: Limits, history_entries_max: int = 20_000) -> Harness:
        made.append(HARNESSES[request.param](tmp_path / f"data-{len(made)}", limits, history_entries_max))
        return made[-1]

    yield make
    for harness in made:
        harness.close()


@pytest.fixture
def harness(make_harness: HarnessMaker) -> Harness:
    """A store with the default limits, empty."""
    return make_harness(Limits(), 20_000)
