"""Each repository's promises, on real SQLite."""

import asyncio

import pytest

from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.core.messages import DeviceInfo
from syncbridge.errors import (
    AccountExists,
    CodeInvalid,
    DeviceLimit,
    DeviceUnknown,
    NotFound,
    SnapshotsExceeded,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
    Unavailable,
)
from syncbridge.records import Account, Family, Records, Redeemed, Roster, SessionRecord, SnapshotRecord
from syncbridge.records.directory import Directory

ANN = AccountId("ann")


def a_session(name: str, *, created_at: int = 1, kind: str = "breathing") -> SessionRecord:
    return SessionRecord(SessionId(name), ANN, kind, f"title of {name}", {"a": 1}, created_at, "active", 1, None, 1)


async def register(records: Records, device: str, *, login_at: int = 10, name: str = "", now_ms: int = 20) -> Roster:
    info = DeviceInfo(device, name)
    return await records.devices.register(ANN, info, login_at=login_at, devices_max=lambda plan: 5, now_ms=now_ms)


async def test_second_account_of_an_address_is_refused(records: Records) -> None:
    with pytest.raises(AccountExists):
        await records.accounts.add(Account(AccountId("other"), "ann@example.com", 2), "hash")


async def test_sixth_device_is_refused_with_the_five(records: Records) -> None:
    for number in range(5):
        await register(records, f"d{number}")
    with pytest.raises(DeviceLimit) as refused:
        await register(records, "d5")
    assert [device[0] for device in refused.value.devices] == ["d0", "d1", "d2", "d3", "d4"]


async def test_of_eight_devices_at_once_five_are_registered(records: Records) -> None:
    outcomes = await asyncio.gather(*(register(records, f"d{n}") for n in range(8)), return_exceptions=True)
    assert sum(isinstance(one, DeviceLimit) for one in outcomes) == 3
    assert len((await records.devices.roster(ANN)).devices) == 5


async def test_device_of_an_unknown_account_is_refused(records: Records) -> None:
    with pytest.raises(NotFound):
        await records.devices.register(
            AccountId("nobody"), DeviceInfo("d"), login_at=1, devices_max=lambda plan: 5, now_ms=1
        )


async def test_removed_device_comes_back_only_by_a_later_login(records: Records) -> None:
    await register(records, "tv")
    roster = await records.devices.remove(ANN, DeviceId("tv"), now_ms=100)
    assert (roster.devices, roster.removed) == ((), {"tv": 100})
    with pytest.raises(DeviceUnknown):
        await register(records, "tv", login_at=100)
    assert (await register(records, "tv", login_at=101)).get("tv") is not None


async def test_name_that_a_person_gave_outlives_the_next_hello(records: Records) -> None:
    await register(records, "tv", name="Living room")
    await records.devices.rename(ANN, DeviceId("tv"), "Grandma's", 4)
    device = (await register(records, "tv", name="TV 2000")).get("tv")
    assert device is not None
    assert (device.info.name, device.presented.name) == ("Grandma's", "TV 2000")


async def test_walk_through_the_pages_meets_each_session_once_while_new_ones_come(records: Records) -> None:
    for number in range(7):
        await records.sessions.add(a_session(f"s{number}", created_at=number // 2))
    seen: list[str] = []
    after = None
    while page := await records.sessions.page(ANN, after=after, count=3):
        seen += [one.id for one in page]
        after = (page[-1].created_at, page[-1].id)
        await records.sessions.add(a_session(f"new{len(seen)}", created_at=99))
    assert seen == ["s6", "s5", "s4", "s3", "s2", "s1", "s0"]


async def test_listing_is_by_status_and_type(records: Records) -> None:
    await records.sessions.add(a_session("one"))
    await records.sessions.add(a_session("two", kind="yoga"))
    records.directory.note(SessionId("two"), status="paused", version=3, updated_at=5, active="tv")
    await records.directory.flush()
    paused = await records.sessions.page(ANN, status="paused", count=9)
    assert [(one.id, one.version, one.active, one.updated_at) for one in paused] == [("two", 3, "tv", 5)]
    assert [one.id for one in await records.sessions.page(ANN, type="breathing", count=9)] == ["one"]
    assert await records.sessions.page(AccountId("bob"), count=9) == []


async def test_older_note_never_replaces_a_newer_one(records: Records) -> None:
    await records.sessions.add(a_session("one"))
    for version in (9, 4):
        records.directory.note(SessionId("one"), status="active", version=version, updated_at=version, active=None)
        await records.directory.flush()
    found = await records.sessions.get(SessionId("one"))
    assert found is not None
    assert found.version == 9


async def test_notes_are_kept_while_the_records_are_away(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    await records.sessions.add(a_session("one"))
    directory = Directory(records.database, delay_ms=1)

    def away() -> None:
        raise Unavailable

    with monkeypatch.context() as broken:
        broken.setattr(records.database, "transaction", away)
        directory.note(SessionId("one"), status="active", version=2, updated_at=2, active=None)
        with pytest.raises(Unavailable):
            await directory.flush()
    await directory.close()
    found = await records.sessions.get(SessionId("one"))
    assert found is not None
    assert found.version == 2


async def test_note_is_written_without_being_asked(records: Records) -> None:
    await records.sessions.add(a_session("one"))
    directory = Directory(records.database, delay_ms=1)
    directory.note(SessionId("one"), status="completed", version=2, updated_at=2, active=None)
    async with asyncio.timeout(30):
        while not await records.sessions.page(ANN, status="completed", count=1):  # noqa: ASYNC110 - a table has no event
            await asyncio.sleep(0)
    await directory.close()


async def test_snapshot_comes_back_as_it_was_kept(records: Records) -> None:
    await records.sessions.add(a_session("one"))
    state = {"x": [1, 1.5, True, None, "\u00e9"], "y": {}}
    kept = SnapshotRecord("snap", SessionId("one"), "label", "e", 3, "", 7)
    await records.snapshots.add(kept, state, count_max=1)
    assert await records.snapshots.get(SessionId("one"), "snap") == (kept, state)
    assert await records.snapshots.get(SessionId("two"), "snap") is None
    with pytest.raises(SnapshotsExceeded):
        await records.snapshots.add(SnapshotRecord("next", SessionId("one"), "l", "e", 3, "", 8), {}, count_max=1)


async def test_deleted_session_takes_its_snapshots_and_codes_along(records: Records) -> None:
    await records.sessions.add(a_session("one"))
    await records.snapshots.add(SnapshotRecord("snap", SessionId("one"), "l", "e", 3, "", 7), {}, count_max=9)
    await records.pairing.add(b"code", account=ANN, session=SessionId("one"), expires_at=99, now_ms=1)
    await records.sessions.remove(SessionId("one"))
    assert await records.snapshots.page(SessionId("one"), count=9) == []
    with pytest.raises(CodeInvalid):
        await redeem(records, "tv")


async def redeem(records: Records, device: str, *, now_ms: int = 2, devices_max: int = 5) -> Redeemed:
    return await records.pairing.redeem(
        b"code",
        DeviceInfo(device),
        family_id=f"fam-{device}",
        refresh_digest=device.encode(),
        refresh_expires_at=1_000,
        devices_max=lambda plan: devices_max,
        now_ms=now_ms,
    )


async def test_of_two_redeemers_at_once_one_gets_in(records: Records) -> None:
    await records.sessions.add(a_session("one"))
    await records.pairing.add(b"code", account=ANN, session=SessionId("one"), expires_at=99, now_ms=1)
    outcomes = await asyncio.gather(redeem(records, "a"), redeem(records, "b"), return_exceptions=True)
    assert sorted(type(one).__name__ for one in outcomes) == ["CodeInvalid", "Redeemed"]
    assert len((await records.devices.roster(ANN)).devices) == 1


async def test_code_is_still_good_after_a_full_house_refused_it(records: Records) -> None:
    await records.sessions.add(a_session("one"))
    await records.pairing.add(b"code", account=ANN, session=SessionId("one"), expires_at=99, now_ms=1)
    with pytest.raises(DeviceLimit):
        await redeem(records, "tv", devices_max=0)
    redeemed = await redeem(records, "tv")
    assert (redeemed.family.session, redeemed.family.device) == ("one", "tv")


async def test_expired_code_is_refused(records: Records) -> None:
    await records.sessions.add(a_session("one"))
    await records.pairing.add(b"code", account=ANN, session=SessionId("one"), expires_at=99, now_ms=1)
    with pytest.raises(CodeInvalid):
        await redeem(records, "tv", now_ms=99)


async def test_refresh_token_used_twice_revokes_its_family(records: Records) -> None:
    tokens = records.tokens
    family = Family("fam", ANN, 5, DeviceId("tv"))
    await tokens.begin(family, b"one", 100)
    assert await tokens.rotate(b"one", b"two", expires_at=200, now_ms=10) == family
    assert await tokens.rotate(b"one", b"bad", expires_at=200, now_ms=11) == "fam"
    with pytest.raises(TokenRevoked):
        await tokens.rotate(b"two", b"three", expires_at=200, now_ms=12)


async def test_expired_and_unknown_refresh_tokens_are_refused(records: Records) -> None:
    await records.tokens.begin(Family("fam", ANN, 5), b"one", 100)
    with pytest.raises(TokenExpired):
        await records.tokens.rotate(b"one", b"two", expires_at=200, now_ms=100)
    with pytest.raises(TokenInvalid):
        await records.tokens.rotate(b"none", b"two", expires_at=200, now_ms=1)


async def test_the_end_of_the_last_refresh_token_is_told_of_a_log_in_and_of_an_account(records: Records) -> None:
    tokens = records.tokens
    await tokens.begin(Family("old", ANN, 5), b"one", 100)
    await tokens.begin(Family("new", ANN, 5), b"two", 900)
    await tokens.rotate(b"one", b"three", expires_at=200, now_ms=10)
    ends = {name: await tokens.ends_at(name) for name in ("family:old", f"account:{ANN}", "family:x", "account:x")}
    assert list(ends.values()) == [200, 900, 0, 0]


async def test_two_starts_at_once_make_one_signing_key(records: Records) -> None:
    first, second = await asyncio.gather(records.keys.ensure(1), records.keys.ensure(2))
    assert len(first) == 1
    assert first == second
    assert repr(first[0].secret) not in repr(first[0])


async def test_database_that_is_gone_is_unavailable(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(type(records.database.engine), "connect", lambda _engine: refuse())
    with pytest.raises(Unavailable):
        await records.accounts.get(ANN)
    assert not await records.is_healthy()
