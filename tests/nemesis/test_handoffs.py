"""Never two active devices over two nodes, whichever is killed at whichever step (at length: `make nemesis`)."""

from __future__ import annotations

import pytest

from tests.nemesis.moves import travel
from tests.nemesis.stage import Stage

pytestmark = pytest.mark.serial


async def test_a_handoff_across_nodes_happens_once_or_changes_nothing_and_the_old_fence_is_refused(
    stage: Stage,
) -> None:
    moves, wrong = await travel(stage, moves=60, kills=(("offered", 0), ("ready", 1)))
    print(f"handoffs: {moves}")
    assert wrong == []
    assert len(moves.done) >= 60
    assert moves.refused >= 60
