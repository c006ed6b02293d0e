"""The flight recorder: what is noted can be read, is bounded, and goes with its session."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from syncbridge.core.ids import AccountId, SessionId
from syncbridge.errors import Unavailable
from syncbridge.ports import Incident
from syncbridge.records import Records, SessionRecord
from syncbridge.records import incidents as module

ONE, TWO = SessionId("s1"), SessionId("s2")


@pytest.fixture
async def listed(records: Records) -> Records:
    """Records with two sessions."""
    for session in (ONE, TWO):
        await records.sessions.add(SessionRecord(session, AccountId("ann"), "custom", "", {}, 1, "active", 1, None, 1))
    return records


def incident(
    at: int, session: SessionId = ONE, *, kind: Any = "joined", code: str = "resumed", **detail: Any
) -> Incident:
    return Incident(session, at, "tv", kind, code, detail)


async def kept(records: Records, session: SessionId = ONE) -> list[Incident]:
    await records.incidents.flush()
    return await records.incidents.of_session(session)


async def test_what_is_noted_is_read_back_in_its_order(listed: Records) -> None:
    noted = [incident(1), incident(2, kind="refused", code="stale_owner", seq=4, base=7), incident(3, TWO)]
    for one in noted:
        listed.incidents.note(one)
    assert await kept(listed) == noted[:2]
    assert await kept(listed, TWO) == noted[2:]
    assert (listed.incidents.kept_total, listed.incidents.dropped_total) == (3, 0)


async def test_it_is_written_without_being_asked(listed: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listed.incidents._behind, "delay_ms", 1)
    listed.incidents.note(incident(1))
    async with asyncio.timeout(30):
        while not await listed.incidents.of_session(ONE):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.002)


async def test_a_refusal_that_is_repeated_is_one_incident_with_its_number(listed: Records) -> None:
    for at in (5, 6, 9):
        listed.incidents.note(incident(at, kind="refused", code="seq_gap", seq=at))
    listed.incidents.note(incident(10, kind="refused", code="stale_owner"))
    first, second = await kept(listed)
    assert (first.at, first.detail) == (5, {"seq": 5, "times": 3, "until": 9})
    assert second.code == "stale_owner"


async def test_joins_that_are_repeated_stay_two(listed: Records) -> None:
    listed.incidents.note(incident(1))
    listed.incidents.note(incident(2))
    assert [one.at for one in await kept(listed)] == [1, 2]


async def test_the_last_ones_of_a_session_stay(listed: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SESSION_MAX", 3)
    for at in range(4):
        listed.incidents.note(incident(at))
        listed.incidents.note(incident(at, TWO))
    await listed.incidents.flush()
    listed.incidents.note(incident(4))
    assert [one.at for one in await kept(listed)] == [2, 3, 4]
    assert [one.at for one in await kept(listed, TWO)] == [1, 2, 3]


async def test_what_does_not_fit_is_dropped_and_counted(listed: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PENDING_MAX", 2)
    for at in range(5):
        listed.incidents.note(incident(at))
    assert [one.at for one in await kept(listed)] == [0, 1]
    assert listed.incidents.dropped_total == 3


async def test_a_session_that_is_in_no_listing_leaves_nothing_and_takes_nobody_along(listed: Records) -> None:
    listed.incidents.note(incident(1, SessionId("nowhere")))
    listed.incidents.note(incident(2))
    assert [one.at for one in await kept(listed)] == [2]
    assert await kept(listed, SessionId("nowhere")) == []
    assert (listed.incidents.kept_total, listed.incidents.dropped_total) == (1, 1)


async def test_incidents_go_with_their_session(listed: Records) -> None:
    listed.incidents.note(incident(1))
    assert len(await kept(listed)) == 1
    await listed.sessions.remove(ONE)
    assert await kept(listed) == []


async def test_while_the_records_are_away_it_waits_within_its_bound(
    listed: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_noted: list[Incident]) -> None:
        raise Unavailable

    listed.incidents.note(incident(1))
    with monkeypatch.context() as patch:
        patch.setattr(listed.incidents, "_write", away)
        with pytest.raises(Unavailable):
            await listed.incidents.flush()
        listed.incidents.note(incident(2, kind="refused", code="seq_gap"))
        patch.setattr(module, "PENDING_MAX", 1)
        with pytest.raises(Unavailable):
            await listed.incidents.flush()
    assert listed.incidents.dropped_total == 1
    assert [one.at for one in await kept(listed)] == [1]


async def test_closing_writes_what_was_noted_and_takes_nothing_more(listed: Records) -> None:
    listed.incidents.note(incident(1))
    await listed.incidents.close()
    listed.incidents.note(incident(2))
    assert [one.at for one in await listed.incidents.of_session(ONE)] == [1]
