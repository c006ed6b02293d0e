"""Each kind of row goes at its moment, not a millisecond before, and in steps."""

from __future__ import annotations

import pytest
from sqlalchemy import insert

from syncbridge.core.ids import AccountId
from syncbridge.limits import Retention
from syncbridge.records import Records
from syncbridge.records import schema as s

KEPT = Retention()
AT = 1_790_000_000_000

ROWS = {
    "snapshot": (
        s.snapshots,
        {"id": "n", "session": "one", "label": "l", "epoch": "e", "version": 1, "state": b"{}", "device": "",
         "created_at": AT - 5},
        AT + KEPT.snapshot_ms,
    ),
    "incident": (
        s.incidents,
        {"session": "one", "at": AT, "device": "d", "kind": "k", "code": "c", "detail": {}},
        AT + KEPT.incident_ms,
    ),
    "pairing_code": (
        s.pairing_codes,
        {"digest": b"1", "account": "ann", "session": "one", "created_at": 1, "expires_at": AT},
        AT,
    ),
    "idempotency_key": (
        s.idempotency_keys,
        {"account": "ann", "key": "k", "request": b"r", "created_at": 1, "expires_at": AT},
        AT,
    ),
    "token": (s.refresh_tokens, {"digest": b"2", "family": "fam", "expires_at": AT}, AT),
    # A process whose clock is behind may need it yet, and the clock of whoever removes it may be ahead.
    "revocation": (s.revocations, {"subject": "jti:1", "expires_at": AT}, AT + KEPT.leap_ms + 86_400_000),
    "receipt": (
        s.erasures,
        {"account": "gone", "requested_at": 1, "finished_at": AT, "receipt": {}},
        AT + KEPT.receipt_ms,
    ),
}  # fmt: skip


@pytest.fixture
async def filled(records: Records) -> Records:
    """A session last changed at `AT`, a log-in, and a row of each kind."""
    session = {"id": "one", "account": "ann", "type": "custom", "title": "", "settings": {}, "created_at": 1}
    session |= {"status": "active", "version": 1, "updated_at": AT}
    async with records.database.transaction() as connection:
        await connection.execute(insert(s.sessions).values(session))
        await connection.execute(insert(s.token_families).values(id="fam", account="ann", login_at=1))
        for table, row, _ in ROWS.values():
            await connection.execute(insert(table).values(row))
    return records


@pytest.mark.parametrize("kind", sorted(ROWS))
async def test_a_row_goes_at_its_moment_and_not_before(filled: Records, kind: str) -> None:
    at = ROWS[kind][2]
    assert await filled.expiry.remove(kind, at - 1, KEPT, 10) == 0
    assert (await filled.expiry.count(at, KEPT))[kind] == 1
    assert await filled.expiry.remove(kind, at, KEPT, 10) == 1
    assert await filled.expiry.remove(kind, at, KEPT, 10) == 0


async def test_a_snapshot_younger_than_its_session_s_last_change_lives_on(filled: Records) -> None:
    async with filled.database.transaction() as connection:
        await connection.execute(s.snapshots.update().values(created_at=AT + 1_000))
    assert await filled.expiry.remove("snapshot", AT + KEPT.snapshot_ms, KEPT, 10) == 0
    assert await filled.expiry.remove("snapshot", AT + 1_000 + KEPT.snapshot_ms, KEPT, 10) == 1


async def test_a_used_code_goes_at_once_and_a_log_in_with_the_last_of_its_tokens(filled: Records) -> None:
    async with filled.database.transaction() as connection:
        await connection.execute(s.pairing_codes.update().values(used_at=2))
    assert await filled.expiry.remove("pairing_code", 3, KEPT, 10) == 1
    assert await filled.expiry.remove("log_in", AT, KEPT, 10) == 0
    await filled.expiry.remove("token", AT, KEPT, 10)
    assert await filled.expiry.remove("log_in", AT, KEPT, 10) == 1


async def test_a_step_is_bounded(records: Records) -> None:
    async with records.database.transaction() as connection:
        for number in range(5):
            await connection.execute(insert(s.revocations).values(subject=f"jti:{number}", expires_at=AT))
    at = ROWS["revocation"][2]
    assert [await records.expiry.remove("revocation", at, KEPT, 2) for _ in range(4)] == [2, 2, 1, 0]


async def test_listings_past_their_time_are_named_by_their_status(records: Records) -> None:
    times = {"active": KEPT.live_ms, "completed": KEPT.completed_ms, "archived": KEPT.archived_ms}
    async with records.database.transaction() as connection:
        for status in times:
            row = {"id": status, "account": "ann", "type": "custom", "title": "", "settings": {}, "created_at": 1}
            row |= {"status": status, "version": 1, "updated_at": AT}
            await connection.execute(insert(s.sessions).values(row))
    seen: list[str] = []
    for status, kept_ms in times.items():
        assert await records.expiry.stale_sessions(AT + kept_ms - 1, KEPT, 10) == seen
        seen.append(status)
        assert sorted(await records.expiry.stale_sessions(AT + kept_ms, KEPT, 10)) == sorted(seen)


async def test_an_erasure_is_asked_for_once_and_only_of_an_account_that_is_there(records: Records) -> None:
    first = await records.erasures.begin(AccountId("ann"), 5)
    assert await records.erasures.begin(AccountId("ann"), 9) == first
    assert await records.erasures.pending() == ["ann"]
    await records.erasures.erase_account(AccountId("ann"))
    finished = await records.erasures.finish(AccountId("ann"), 7)
    assert (finished.finished_at, finished.erased["accounts"]) == (7, 1)
    assert await records.erasures.finish(AccountId("ann"), 8) == finished
    assert await records.erasures.pending() == []
    assert await records.erasures.by_receipt(finished.receipt) == finished
    assert await records.erasures.by_receipt("ers_other") is None
    assert await records.erasures.among([AccountId("ann"), AccountId("bob")]) == {"ann"}
