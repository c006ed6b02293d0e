"""Nodes with a fault planted in each are found out by the same rounds that found nothing before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.nemesis.faults import NOTHING
from tests.nemesis.moves import travel
from tests.nemesis.rounds import run_round
from tests.nemesis.stage import Stage

pytestmark = pytest.mark.serial


@pytest.fixture
async def planted(stage: Stage) -> AsyncIterator[Stage]:
    """The stage with nodes that know no repeat, list no overwritten value and take pushes under any fence."""
    stage.plants = "repeats,rows,fences"
    stage.start_nodes()
    yield stage
    stage.plants = ""
    for node in stage.nodes:
        node.process.kill()


async def test_nodes_that_know_no_repeat_list_no_row_and_heed_no_fence_are_found_out(
    planted: Stage,
) -> None:
    report = await run_round(planted, replace(NOTHING, holds_s=0.5), seed=51, hop_share=0.0)
    verdict = report.verdict
    moves, wrong = await travel(planted, moves=6, kills=())
    print(f"{len(verdict.doubled)} doubled, {len(verdict.unseen)} overwritten unseen, {len(wrong)} under an old fence")
    assert verdict.doubled
    assert verdict.unseen
    assert len(wrong) >= len(moves.done) - 1
