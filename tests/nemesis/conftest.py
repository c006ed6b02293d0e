"""One stage for all nemeses, in a network of its own: real servers, real nodes, links that can be cut."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.nemesis.network import own_network
from tests.nemesis.stage import Stage


@pytest.fixture(scope="package")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """It runs, as `Stage.calm` leaves it; whatever a test broke, the next one makes whole."""
    with own_network() as network:
        stage = Stage(tmp_path_factory.mktemp("nemesis"), network)
        try:
            stage.start()
            yield stage
        finally:
            stage.stop()
