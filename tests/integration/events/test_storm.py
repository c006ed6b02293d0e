"""Whatever dies, nothing is lost and every session keeps its order (at length: python -m tests.integration.events)."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.rabbitmq import Rabbit
from tests.integration.events.storm import Scale, storm

pytestmark = pytest.mark.serial

SMALL = Scale(events_per_s=150, seconds=5, outage_s=1.5, broker_kills=1, relay_kills=5, sessions=20)


async def test_a_broker_that_freezes_and_dies_and_relays_that_are_killed_lose_nothing(
    rabbit: Rabbit, tmp_path: Path
) -> None:
    report = await storm(rabbit, tmp_path / "data", SMALL)
    assert report.happened > SMALL.sessions + SMALL.events_per_s * SMALL.seconds
    assert (report.lost, report.disorder) == ([], [])
