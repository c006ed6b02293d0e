"""What was acknowledged at `replicated` outlives a cut link, its primary, and every node; at `local` it does not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.nemesis.disaster import cut_then_kill
from tests.nemesis.stage import Stage

pytestmark = pytest.mark.serial


@pytest.fixture
async def lax_stage(stage: Stage) -> AsyncIterator[Stage]:
    """The stage with nodes that acknowledge what the primary alone has."""
    stage.start_nodes("local")
    yield stage
    stage.acks = "replicated"  # of those that are started next: these are dead


async def test_nothing_acknowledged_is_lost_with_a_primary_that_was_cut_off_before(stage: Stage) -> None:
    loss = await cut_then_kill(stage, seed=1)
    print(f"replicated: {loss}")
    assert loss.acked > 5
    assert loss.lost == []


async def test_the_same_loses_what_was_acknowledged_by_the_primary_alone(lax_stage: Stage) -> None:
    """The control: were nothing lost here, nothing would have been proved above."""
    loss = await cut_then_kill(lax_stage, seed=1)
    print(f"local: {loss}")
    assert loss.while_cut > 5
    assert len(loss.lost) >= loss.while_cut // 2
