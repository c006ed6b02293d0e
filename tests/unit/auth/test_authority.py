"""Log-ins, rotation, revocation and one-time codes."""

import asyncio
import os
import threading

import pytest
from argon2 import PasswordHasher

from syncbridge.auth import Authority, open_authority
from syncbridge.auth.authority import normal_code
from syncbridge.auth.passwords import AT_ONCE_MAX, NICENESS, Passwords
from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.core.messages import DeviceInfo
from syncbridge.errors import (
    BadCredentials,
    DeviceUnknown,
    RateLimited,
    TokenExpired,
    TokenRevoked,
    ValidationFailed,
)
from syncbridge.limits import Limits
from syncbridge.records import Records, SessionRecord
from tests.unit.auth.conftest import CHEAP, MovedClock

PASSWORD = "correct horse"


async def an_account(authority: Authority) -> AccountId:
    return (await authority.create_account("Ann@Example.com ", PASSWORD)).id


async def test_address_is_compared_without_case_and_spaces(authority: Authority) -> None:
    account = await an_account(authority)
    assert (await authority.log_in(" ann@EXAMPLE.com", PASSWORD)).claims.account == account


@pytest.mark.parametrize("email", ["ann@example.com", "nobody@example.com", "", "no address", "a\x00@b"])
async def test_wrong_password_and_unknown_address_are_refused_alike(authority: Authority, email: str) -> None:
    await an_account(authority)
    with pytest.raises(BadCredentials) as refused:
        await authority.log_in(email, "wrong")
    assert str(refused.value) == BadCredentials.meaning


async def test_unknown_address_costs_one_hash_as_a_known_one_does(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    await an_account(authority)
    checked: list[str | None] = []
    verify = Passwords.verify

    async def counted(self: Passwords, stored: str | None, password: str) -> bool:
        checked.append(stored)
        return await verify(self, stored, password)

    monkeypatch.setattr(Passwords, "verify", counted)
    for email in ("ann@example.com", "nobody@example.com"):
        with pytest.raises(BadCredentials):
            await authority.log_in(email, "wrong")
    assert [stored is None for stored in checked] == [False, True]


@pytest.mark.parametrize("password", ["short", "x" * 1025])
async def test_password_out_of_bounds_is_refused_without_repeating_it(authority: Authority, password: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        await authority.create_account("ann@example.com", password)
    assert password not in str(refused.value)


async def test_refresh_gives_the_next_pair_and_uses_the_token_up(authority: Authority, clock: MovedClock) -> None:
    first = await authority.begin(await an_account(authority), DeviceId("tv"))
    clock.at_ms += 60_000
    second = await authority.refresh(first.refresh_token)
    assert second.claims.expires_at == first.claims.expires_at + 60_000
    assert (second.claims.device, second.claims.login_at) == ("tv", first.claims.login_at)
    with pytest.raises(TokenRevoked):
        await authority.refresh(first.refresh_token)


async def test_reused_refresh_token_ends_the_whole_family_at_once(authority: Authority) -> None:
    first = await authority.begin(await an_account(authority))
    second = await authority.refresh(first.refresh_token)
    with pytest.raises(TokenRevoked):
        await authority.refresh(first.refresh_token)
    for access in (first.access_token, second.access_token):
        with pytest.raises(TokenRevoked):
            authority.verify(access)
    with pytest.raises(TokenRevoked):
        await authority.refresh(second.refresh_token)


async def test_revoked_token_is_refused_here_and_after_a_restart(
    authority: Authority, records: Records, clock: MovedClock
) -> None:
    account = await an_account(authority)
    revoked, other = await authority.begin(account), await authority.begin(account)
    await authority.revoke(revoked.access_token)
    restarted = await open_authority(records, CHEAP, Limits(), clock)
    for one in (authority, restarted):
        with pytest.raises(TokenRevoked):
            one.verify(revoked.access_token)
        assert one.verify(other.access_token).account == account
    restarted.close()


async def test_revoking_nonsense_says_nothing(authority: Authority) -> None:
    await authority.revoke("rt_nonsense")
    await authority.revoke("nonsense")


async def test_tokens_of_a_removed_device_are_refused(authority: Authority, clock: MovedClock) -> None:
    account = await an_account(authority)
    grant = await authority.begin(account, DeviceId("tv"))
    await authority.rosters.register(account, DeviceInfo("tv"), grant.claims.login_at)
    clock.at_ms += 1
    await authority.remove_device(account, DeviceId("tv"))
    with pytest.raises(TokenRevoked):
        authority.verify(grant.access_token)
    with pytest.raises(TokenRevoked):
        await authority.refresh(grant.refresh_token)


async def test_device_that_another_process_removed_is_refused_without_a_revocation(
    authority: Authority, clock: MovedClock
) -> None:
    account = await an_account(authority)
    grant = await authority.begin(account, DeviceId("tv"))
    await authority.rosters.register(account, DeviceInfo("tv"), grant.claims.login_at)
    clock.at_ms += 1
    await authority.rosters.remove(account, DeviceId("tv"))
    with pytest.raises(DeviceUnknown):
        await authority.identify(grant.access_token)
    with pytest.raises(DeviceUnknown):
        await authority.refresh(grant.refresh_token)


async def test_unbound_login_from_before_the_removal_cannot_bring_the_device_back(
    authority: Authority, clock: MovedClock
) -> None:
    account = await an_account(authority)
    grant = await authority.begin(account)
    await authority.rosters.register(account, DeviceInfo("tv"), grant.claims.login_at)
    clock.at_ms += 1
    await authority.remove_device(account, DeviceId("tv"))
    again = await authority.refresh(grant.refresh_token)
    with pytest.raises(DeviceUnknown):
        await authority.rosters.register(account, DeviceInfo("tv"), again.claims.login_at)
    clock.at_ms += 1
    later = await authority.log_in("ann@example.com", PASSWORD)
    assert (await authority.rosters.register(account, DeviceInfo("tv"), later.claims.login_at)).get("tv") is not None


async def test_access_token_lasts_fifteen_minutes(authority: Authority, clock: MovedClock) -> None:
    grant = await authority.begin(await an_account(authority))
    clock.at_ms += 900_000 - 1
    authority.verify(grant.access_token)
    clock.at_ms += 1
    with pytest.raises(TokenExpired):
        authority.verify(grant.access_token)


async def test_code_becomes_tokens_for_one_device_and_one_session(authority: Authority, records: Records) -> None:
    account = await an_account(authority)
    session = SessionId("ses")
    await records.sessions.add(SessionRecord(session, account, "custom", "", {}, 1, "active", 1, None, 1))
    code, _ = await authority.new_code(authority.verify((await authority.begin(account)).access_token), session)
    told: list[tuple[AccountId, tuple[DeviceInfo, ...]]] = []
    authority.rosters.follow(lambda who, roster: told.append((who, roster)))
    grant = await authority.redeem(code.lower().replace("-", " "), DeviceInfo("tv"))
    claims = authority.verify(grant.access_token)
    assert (claims.account, claims.device, claims.session) == (account, "tv", "ses")
    assert told == [(account, (DeviceInfo("tv"),))]


def test_code_is_read_as_people_write_it() -> None:
    assert normal_code(" abcde-oil23 ") == "ABCDE01123"


async def test_at_most_two_hashes_run_at_once_and_too_many_waiting_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passwords = Passwords(time_cost=1, memory_kib=8, waiting_max=3)
    gate = threading.Event()
    lock = threading.Lock()
    running = most = 0

    def slow(_hasher: PasswordHasher, password: str) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        gate.wait(10)
        with lock:
            running -= 1
        return password

    monkeypatch.setattr(PasswordHasher, "hash", slow)
    tasks = [asyncio.create_task(passwords.hash("x")) for _ in range(AT_ONCE_MAX + 4)]
    async with asyncio.timeout(30):
        while running < AT_ONCE_MAX or not tasks[-1].done():  # noqa: ASYNC110 - threads set it
            await asyncio.sleep(0)
    gate.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    passwords.close()
    assert most == AT_ONCE_MAX == 2
    assert sum(isinstance(one, RateLimited) for one in outcomes) == 1


async def test_hashing_yields_to_the_event_loop(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    priorities: list[int] = []
    real = Passwords._verify

    def verify(self: Passwords, stored: str | None, password: str) -> bool:
        priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return real(self, stored, password)

    monkeypatch.setattr(Passwords, "_verify", verify)
    with pytest.raises(BadCredentials):
        await authority.log_in("nobody@example.com", "wrong password")
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert priorities == [max(own, NICENESS)]


async def test_hash_of_older_parameters_is_renewed_at_the_next_login(
    authority: Authority, records: Records, clock: MovedClock
) -> None:
    await an_account(authority)
    stronger = await open_authority(records, type(CHEAP)(argon2_time_cost=2, argon2_memory_kib=16), Limits(), clock)
    before = await records.accounts.credentials("ann@example.com")
    await stronger.log_in("ann@example.com", PASSWORD)
    after = await records.accounts.credentials("ann@example.com")
    stronger.close()
    assert before is not None
    assert after is not None
    assert "m=16,t=2" in after[1]
    assert before[1] != after[1]
