"""Whoever revokes is obeyed here at once, elsewhere by the next question, and after a restart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import insert

from syncbridge.auth import Authority, open_authority
from syncbridge.auth.authority import Grant, digest, normal_code
from syncbridge.auth.passwords import Passwords
from syncbridge.auth.revocations import LONG_EVERY_MS
from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.core.messages import DeviceInfo
from syncbridge.errors import BadCredentials, CodeInvalid, SyncBridgeError, TokenRevoked, Unavailable, ValidationFailed
from syncbridge.limits import Limits, Retention
from syncbridge.records import Records, Revocation, Roster, SessionRecord, schema
from syncbridge.records.revocations import FOR_EVER
from tests.unit.auth.conftest import CHEAP, MovedClock

EMAIL, PASSWORD = "ann@example.com", "correct horse"
DAY_MS = 86_400_000


@pytest.fixture
async def elsewhere(records: Records, authority: Authority) -> AsyncIterator[Authority]:
    """Another process over the same records; its clock is half a minute behind."""
    clock = MovedClock()
    clock.at_ms -= 30_000
    opened = await open_authority(records, CHEAP, Limits(), clock)
    yield opened
    opened.close()


@pytest.fixture
async def ann(authority: Authority) -> AccountId:
    """An account."""
    return (await authority.create_account(EMAIL, PASSWORD)).id


def is_good(authority: Authority, grant: Grant) -> bool:
    try:
        authority.verify(grant.access_token)
    except TokenRevoked:
        return False
    return True


async def can_refresh(authority: Authority, grant: Grant) -> bool:
    try:
        await authority.refresh(grant.refresh_token)
    except SyncBridgeError:
        return False
    return True


async def test_account_revoked_ends_what_was_and_takes_a_login_after(authority: Authority, ann: AccountId) -> None:
    before = [await authority.begin(ann), await authority.begin(ann, DeviceId("tv"))]
    stranger = await authority.begin((await authority.create_account("bob@example.com", PASSWORD)).id)
    await authority.revoke_account(ann)
    # In the very same millisecond, too: the clock stands still.
    after = await authority.log_in(EMAIL, PASSWORD)
    assert [is_good(authority, one) for one in (*before, after, stranger)] == [False, False, True, True]
    assert [await can_refresh(authority, one) for one in (*before, after)] == [False, False, True]


async def test_login_that_is_kept_stays_and_goes_on_by_refresh(authority: Authority, ann: AccountId) -> None:
    mine, other = await authority.begin(ann), await authority.begin(ann)
    await authority.revoke_account(ann, kept=mine.claims)
    assert (is_good(authority, mine), is_good(authority, other)) == (True, False)
    assert is_good(authority, await authority.refresh(mine.refresh_token))
    await authority.revoke_account(ann)
    assert not is_good(authority, mine)


async def test_account_refused_for_ever_is_refused_in_any_later_revocation(
    authority: Authority, ann: AccountId, clock: MovedClock
) -> None:
    grant = await authority.begin(ann)
    await authority.revoke_account(ann, for_ever=True)
    await authority.revoke_account(ann, kept=grant.claims)
    clock.at_ms += 10_000_000_000
    await authority.catch_up()
    assert authority.revocations.covers(grant.claims)
    with pytest.raises(BadCredentials):
        await authority.log_in(EMAIL, PASSWORD)


async def test_revocation_being_written_is_not_undone_by_an_older_one_that_is_read_meanwhile(
    authority: Authority, records: Records, ann: AccountId, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await authority.revoke_account(ann)
    clock.at_ms += 1_000
    between = await authority.begin(ann)
    end_logins, seen = records.revocations.end_logins, []

    async def end_logins_slowly(*words: Any) -> Revocation:
        await authority.catch_up()
        seen.append(is_good(authority, between))
        return await end_logins(*words)

    monkeypatch.setattr(records.revocations, "end_logins", end_logins_slowly)
    await authority.revoke_account(ann)
    assert (seen, is_good(authority, between)) == ([False], False)


async def test_code_made_before_lets_nobody_back_in(authority: Authority, records: Records, ann: AccountId) -> None:
    await records.sessions.add(SessionRecord(SessionId("ses"), ann, "custom", "", {}, 1, "active", 1, None, 1))
    code, _ = await authority.new_code(authority.verify((await authority.begin(ann)).access_token), SessionId("ses"))
    await authority.revoke_account(ann)
    with pytest.raises(CodeInvalid):
        await authority.redeem(code, DeviceInfo("tv"))


async def test_code_asked_for_by_who_is_thrown_out_meanwhile_is_not_told(
    authority: Authority, records: Records, ann: AccountId, monkeypatch: pytest.MonkeyPatch
) -> None:
    await records.sessions.add(SessionRecord(SessionId("ses"), ann, "custom", "", {}, 1, "active", 1, None, 1))
    claims = authority.verify((await authority.begin(ann)).access_token)
    add = records.pairing.add

    async def add_too_late(digest: bytes, **row: Any) -> None:
        await authority.revoke_account(ann)
        await add(digest, **row)

    monkeypatch.setattr(records.pairing, "add", add_too_late)
    with pytest.raises(TokenRevoked):
        await authority.new_code(claims, SessionId("ses"))


async def test_code_made_while_the_account_goes_for_ever_lets_nobody_in(
    authority: Authority, records: Records, ann: AccountId
) -> None:
    await records.sessions.add(SessionRecord(SessionId("ses"), ann, "custom", "", {}, 1, "active", 1, None, 1))
    await authority.revoke_account(ann, for_ever=True)
    code = digest(normal_code("ABCDE-12345"))
    await records.pairing.add(code, account=ann, session=SessionId("ses"), expires_at=FOR_EVER, now_ms=1)
    with pytest.raises(CodeInvalid):
        await authority.redeem("ABCDE-12345", DeviceInfo("tv"))
    assert (await records.devices.roster(ann)).devices == ()


@pytest.mark.parametrize("subject", ["token", "refresh", "account", "device", "password"])
async def test_another_process_learns_of_it_by_asking_whatever_the_clocks_say(
    authority: Authority, elsewhere: Authority, ann: AccountId, subject: str
) -> None:
    hit, spared = await authority.begin(ann, DeviceId("tv")), await authority.begin(ann, DeviceId("phone"))
    for device in ("tv", "phone"):
        await authority.rosters.register(ann, DeviceInfo(device), hit.claims.login_at)
    told: list[AccountId | None] = []
    removed: list[int] = []
    authority.revocations.follow(told.append)
    authority.rosters.follow(lambda _, roster: removed.append(len(roster)))
    await authority.catch_up()
    told.clear()
    removed.clear()
    if subject == "token":
        await elsewhere.revoke(hit.access_token)
    elif subject == "refresh":
        await elsewhere.revoke(hit.refresh_token)
    elif subject == "account":
        await elsewhere.revoke_account(ann, kept=spared.claims)
    elif subject == "device":
        await elsewhere.remove_device(ann, DeviceId("tv"))
    else:
        await elsewhere.change_password(spared.claims, PASSWORD, "another horse")
    assert is_good(authority, hit)
    await authority.catch_up()
    assert (is_good(authority, hit), is_good(authority, spared)) == (False, True)
    assert len(told) == 1
    # Good on both sides, though the other's clock has not come to the moment of the revocation.
    again = await elsewhere.begin(ann)
    assert (is_good(authority, again), is_good(elsewhere, again)) == (True, True)
    assert removed == ([1] if subject == "device" else [])
    await authority.catch_up()
    assert len(told) == 1


@pytest.mark.parametrize("ahead_ms", [DAY_MS, -DAY_MS], ids=["ahead", "behind"])
@pytest.mark.parametrize("subject", ["refresh", "account", "device", "password", "used twice"])
async def test_a_token_of_a_process_whose_clock_is_wrong_is_refused_wherever_and_whenever_it_would_be_good(
    records: Records, ann: AccountId, authority: Authority, clock: MovedClock, subject: str, ahead_ms: int
) -> None:
    """The token lasts longer by its issuer's clock than a revocation by the right one."""
    wrong = MovedClock()
    wrong.at_ms += ahead_ms
    issuer = await open_authority(records, CHEAP, Limits(), wrong)
    mine = await authority.begin(ann, DeviceId("phone"))
    used = await authority.begin(ann, DeviceId("tv"))
    for device in ("tv", "phone"):
        await authority.rosters.register(ann, DeviceInfo(device), used.claims.login_at)
    hit = await issuer.refresh(used.refresh_token)
    if subject == "refresh":
        await authority.revoke(hit.refresh_token)
    elif subject == "account":
        await authority.revoke_account(ann, kept=mine.claims)
    elif subject == "device":
        await authority.remove_device(ann, DeviceId("tv"))
    elif subject == "password":
        await authority.change_password(mine.claims, PASSWORD, "another horse")
    else:
        with pytest.raises(TokenRevoked):
            await authority.refresh(used.refresh_token)
    await issuer.catch_up()
    assert not is_good(issuer, hit), "where it was issued"
    for _ in range(3):
        # The right clock comes to where the token would be taken; a process that starts then has read the table.
        await authority.catch_up()
        started = await open_authority(records, CHEAP, Limits(), clock)
        assert "good" not in (answer(authority, hit), answer(started, hit))
        started.close()
        clock.at_ms += abs(ahead_ms) // 2
        await records.expiry.remove("revocation", clock.at_ms, Retention(), 10)
    issuer.close()


def answer(authority: Authority, grant: Grant) -> str:
    try:
        authority.verify(grant.access_token)
    except SyncBridgeError as fault:
        return fault.code
    return "good"


async def test_a_process_whose_clock_is_far_ahead_ends_no_log_in_by_starting(
    records: Records, authority: Authority, ann: AccountId
) -> None:
    grant = await authority.begin(ann)
    ahead = MovedClock()
    ahead.at_ms += 95 * DAY_MS
    (await open_authority(records, CHEAP, Limits(), ahead)).close()
    assert await can_refresh(authority, grant)


async def test_a_row_that_was_committed_long_after_it_was_numbered_is_found(
    authority: Authority, records: Records, ann: AccountId, clock: MovedClock
) -> None:
    grant = await authority.begin(ann)
    await authority.catch_up()
    late = {"subject": f"family:{grant.claims.family}", "expires_at": FOR_EVER, "created_at": clock.at_ms - 60_000}
    await records.revocations.add(Revocation("jti:other", FOR_EVER), clock.at_ms)
    await authority.catch_up()
    async with records.database.transaction() as connection:
        await connection.execute(insert(schema.revocations).values(late))
    clock.at_ms += LONG_EVERY_MS
    await authority.catch_up()
    assert not is_good(authority, grant)


async def test_what_is_over_does_not_have_everything_read_again_and_again(
    authority: Authority, records: Records, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        await records.revocations.add(Revocation(f"jti:{number}", FOR_EVER), clock.at_ms + number * 4_000)
    await records.revocations.add(Revocation("jti:over", clock.at_ms), clock.at_ms + 20 * 4_000)
    await authority.catch_up()
    read: list[int] = []
    since = records.revocations.since

    async def counted(written: int, now_ms: int) -> list[Revocation]:
        rows = await since(written, now_ms)
        read.append(len(rows))
        return rows

    monkeypatch.setattr(records.revocations, "since", counted)
    for _ in range(5):
        await authority.catch_up()
    assert max(read) <= 2


async def test_rows_are_in_the_order_of_their_writing_whatever_the_clocks_say(records: Records) -> None:
    table = records.revocations
    for number, now_ms in enumerate((500, 100, 100, 700)):
        await table.add(Revocation(f"jti:{number}", 10_000), now_ms)
    rows = await table.since(0, 0)
    assert [row.subject for row in rows] == [f"jti:{number}" for number in range(4)]
    assert [row.written for row in rows] == [500, 501, 502, 700]


async def test_row_of_a_clock_far_ahead_hides_nothing_that_comes_after_it_is_gone(
    authority: Authority, records: Records, ann: AccountId, clock: MovedClock
) -> None:
    grant = await authority.begin(ann)
    ahead_ms = clock.at_ms + 86_400_000
    await records.revocations.add(Revocation("jti:x", clock.at_ms + 10), ahead_ms)
    await authority.catch_up()
    clock.at_ms += 10
    assert await records.expiry.remove("revocation", clock.at_ms + 10 * DAY_MS, Retention(), 10) == 1
    await records.revocations.add(Revocation(f"jti:{grant.claims.token_id}", clock.at_ms + 900_000), clock.at_ms)
    await authority.catch_up()
    assert not is_good(authority, grant)


async def test_revocation_that_is_over_is_forgotten(authority: Authority, ann: AccountId, clock: MovedClock) -> None:
    grant = await authority.begin(ann)
    await authority.revoke(grant.access_token)
    clock.at_ms += 900_000 + 60_000
    await authority.catch_up()
    assert not authority.revocations.covers(grant.claims)


async def test_password_is_changed_and_whoever_knew_the_old_one_is_out(authority: Authority, ann: AccountId) -> None:
    mine, other = await authority.log_in(EMAIL, PASSWORD), await authority.log_in(EMAIL, PASSWORD)
    with pytest.raises(BadCredentials):
        await authority.change_password(mine.claims, "wrong", "another horse")
    with pytest.raises(ValidationFailed):
        await authority.change_password(mine.claims, PASSWORD, "short")
    assert is_good(authority, other)
    await authority.change_password(mine.claims, PASSWORD, "another horse")
    assert (is_good(authority, mine), is_good(authority, other)) == (True, False)
    with pytest.raises(BadCredentials):
        await authority.log_in(EMAIL, PASSWORD)
    assert (await authority.log_in(EMAIL, "another horse")).claims.account == ann


async def test_login_that_began_with_the_old_password_does_not_outlive_its_change(
    authority: Authority, ann: AccountId, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = await authority.log_in(EMAIL, PASSWORD)
    verify = Passwords.verify

    async def overtaken(self: Passwords, stored: str | None, password: str) -> bool:
        monkeypatch.setattr(Passwords, "verify", verify)
        is_right = await verify(self, stored, password)
        await authority.change_password(mine.claims, PASSWORD, "another horse")
        return is_right

    monkeypatch.setattr(Passwords, "verify", overtaken)
    with pytest.raises(BadCredentials):
        await authority.log_in(EMAIL, PASSWORD)


async def test_a_device_that_joins_or_is_renamed_elsewhere_is_known_with_the_next_look(
    authority: Authority, elsewhere: Authority, ann: AccountId, clock: MovedClock
) -> None:
    told: list[tuple[DeviceInfo, ...]] = []
    authority.rosters.follow(lambda account, roster: told.append(roster) if account == ann else None)
    assert (await authority.rosters.get(ann)).devices == ()  # in memory from now on
    tv = DeviceInfo(DeviceId("tv"), "TV")
    await elsewhere.rosters.register(ann, tv, login_at=1)
    await authority.catch_up()
    assert told == [(tv,)]
    assert (await authority.rosters.get(ann)).infos() == (tv,)
    # Also where the clock of the one who looks is days ahead: the row is long over by it.
    clock.at_ms += 2 * 86_400_000
    await elsewhere.rosters.rename(ann, DeviceId("tv"), "Grandma's")
    await authority.catch_up()
    assert [device.name for device in told[-1]] == ["Grandma's"]
    # Who only comes again is no news to anybody: a storm of hellos must not be one of questions.
    await elsewhere.rosters.register(ann, tv, login_at=1)
    before = len(told)
    await authority.catch_up()
    assert len(told) == before


async def test_a_changed_roster_that_could_not_be_read_is_told_when_it_can(
    authority: Authority, elsewhere: Authority, records: Records, ann: AccountId, monkeypatch: pytest.MonkeyPatch
) -> None:
    await elsewhere.rosters.register(ann, DeviceInfo("tv"), 10)
    told: list[AccountId] = []
    authority.rosters.follow(lambda account, _devices: told.append(account))

    async def away(_account: AccountId) -> Roster:
        raise Unavailable

    with monkeypatch.context() as patch:
        patch.setattr(records.devices, "roster", away)
        with pytest.raises(Unavailable):
            await authority.catch_up()
    assert told == []
    await authority.catch_up()
    assert told == [ann]
    await authority.catch_up()
    assert told == [ann]


async def test_a_roster_that_was_read_before_a_device_came_puts_nobody_out(
    authority: Authority, ann: AccountId
) -> None:
    told: list[set[str]] = []
    older = await authority.rosters.register(ann, DeviceInfo(DeviceId("tv")), login_at=1)
    authority.rosters.follow(lambda _, roster: told.append({device.id for device in roster}))
    await authority.rosters.register(ann, DeviceInfo(DeviceId("phone")), login_at=1)
    authority.rosters.changed(ann, older)  # the answer to a question that was asked before
    assert told == [{"tv", "phone"}]
    assert {device.id for device in (await authority.rosters.get(ann)).infos()} == {"tv", "phone"}
    await authority.rosters.remove(ann, DeviceId("tv"))
    assert told[-1] == {"phone"}
