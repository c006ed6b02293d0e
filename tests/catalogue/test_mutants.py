"""The catalogue sees a fault: each of these is put into a service of its own, and its row turns red."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.catalogue import table
from tests.catalogue.conftest import running
from tests.catalogue.harm import prove
from tests.catalogue.rows import Row
from tests.catalogue.service import ProbeProcess
from tests.catalogue.stage import Stage

pytestmark = pytest.mark.serial

ROWS = {row.id: row for row in table.ROWS}
CHEAP = {"AUTH__ARGON2_TIME_COST": "1", "AUTH__ARGON2_MEMORY_KIB": "8"}
"""None of these rows is about passwords."""

OUTCOMES = {
    "query-taken": ("Handshake: a token in the URL", "got '101'"),
    "bad-utf8-taken": ("Frames: bad UTF-8", "got 'error bad_message"),
    "doubles-taken": ("JSON: a member of an op twice", "got 'ack; stays'"),
    "bomb-kept": ("Patch: a copy bomb of 40 doublings", "got 'reject state_too_large at op 17; stays'"),
    "ranges-unchecked": ("Sync: volume 101 of 100", "got 'ack; stays'"),
    "unsigned-taken": ("Identity: REST: another account under the old signature", "got '200'"),
}

HARMS = {
    "crash-logged": ("JSON: a type nobody knows", "the log tells of a fault"),
    "memory-kept": ("JSON: the type twice", "Measure(growth_bytes="),
    "loop-blocked": ("Patch: ~2 in a pointer", "Measure(growth_bytes="),
    "names-logged": ("Identity: CR LF, ANSI, quotes and U+2028 in names", "lines of the log that nobody wrote"),
}


@pytest.fixture(scope="module")
def wrong_answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, ProbeProcess]]:
    """A service with every fault that changes an answer."""
    yield from running(tmp_path_factory.mktemp("wrong"), *OUTCOMES, environment=CHEAP)


@pytest.fixture(scope="module")
def harmful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, ProbeProcess]]:
    """A service with every fault that somebody else pays for."""
    yield from running(
        tmp_path_factory.mktemp("harmful"), *HARMS, "log-unescaped", "handler-crashes", environment=CHEAP
    )


@pytest.mark.parametrize("plant", OUTCOMES)
async def test_row_turns_red_when_the_answer_is_another(wrong_answers: tuple[Stage, ProbeProcess], plant: str) -> None:
    name, told = OUTCOMES[plant]
    with pytest.raises(AssertionError) as red:
        await prove(ROWS[name], *wrong_answers)
    assert told in str(red.value)


@pytest.mark.parametrize("plant", HARMS)
async def test_row_turns_red_when_somebody_else_pays(harmful: tuple[Stage, ProbeProcess], plant: str) -> None:
    name, told = HARMS[plant]
    with pytest.raises(AssertionError) as red:
        await prove(ROWS[name], *harmful)
    assert told in str(red.value)


async def test_row_turns_red_when_somebody_elses_session_changes(harmful: tuple[Stage, ProbeProcess]) -> None:
    async def change(stage: Stage) -> str:
        path = f"/v1/sessions/{stage.olga.sessions[0]}/state"
        media = "application/merge-patch+json"
        answer = await stage.rest("PATCH", path, {"n": 99}, token=stage.olga.token, media=media)
        return str(answer.status)

    row = Row("Sync", "stale fence", "a change of what is somebody else's", "200", change)
    with pytest.raises(AssertionError, match="somebody else's session changed"):
        await prove(row, *harmful)


async def test_our_own_crash_is_500_without_detail_and_the_log_tells_of_it(
    harmful: tuple[Stage, ProbeProcess],
) -> None:
    stage, _ = harmful
    row = next(row for row in table.ROWS if row.plant)
    stage.service.log_since()
    assert await row.send(replace(stage)) == row.gets
    assert "planted: no handler today" in stage.service.log_since()
    assert stage.service.is_alive
