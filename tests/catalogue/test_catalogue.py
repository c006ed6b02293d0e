"""Bad input: each row's exact outcome from one real service, and nobody else harmed by it."""

from __future__ import annotations

import asyncio

import pytest

from tests.catalogue import table
from tests.catalogue.harm import prove
from tests.catalogue.rows import Row
from tests.catalogue.service import ProbeProcess
from tests.catalogue.stage import Stage

pytestmark = pytest.mark.serial

QUICK = [row for row in table.ROWS if not row.is_slow and not row.plant]
SLOW = [row for row in table.ROWS if row.is_slow]


def test_every_clause_has_a_row_and_every_row_a_clause() -> None:
    assert table.unproved(table.ROWS) == []
    assert [row.id for row in table.ROWS if row.clause not in table.CLAUSES[row.family]] == []


def test_a_clause_without_a_row_is_told() -> None:
    assert table.unproved([row for row in table.ROWS if row.clause != "a copy bomb"]) == ["Patch: a copy bomb"]


def test_no_two_rows_are_the_same() -> None:
    names = [row.id for row in table.ROWS]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in QUICK])
async def test_bad_input_gets_what_is_promised_and_harms_nobody_else(
    ward: tuple[Stage, ProbeProcess], row: Row
) -> None:
    await prove(row, *ward)


async def test_what_waits_for_a_limit_gets_it_and_harms_nobody_else(ward: tuple[Stage, ProbeProcess]) -> None:
    stage, probe = ward
    outcomes: dict[str, str] = {}

    async def all_at_once(stage: Stage) -> str:
        told = await asyncio.gather(*(row.send(stage) for row in SLOW))
        outcomes.update({row.id: outcome for row, outcome in zip(SLOW, told, strict=True)})
        return "as told"

    await prove(Row("Handshake", "silence", "all that wait", "as told", all_at_once), stage, probe)
    assert outcomes == {row.id: row.gets for row in SLOW}
