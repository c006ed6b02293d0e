"""A rotation refuses nobody, a retired key nobody's friend, and made-up names do not make us ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from syncbridge.auth import Authority, AuthRules, open_authority
from syncbridge.auth.keyring import ASK_AGAIN_MS, KeyRing, states
from syncbridge.auth.rotation import Rotation
from syncbridge.core.ids import AccountId
from syncbridge.errors import SyncBridgeError, TokenInvalid, Unavailable
from syncbridge.limits import Limits
from syncbridge.ports import SigningKey
from syncbridge.records import Records
from tests.unit.auth.conftest import MovedClock, Source

NOW_MS = MovedClock().at_ms
RULES = AuthRules(argon2_time_cost=1, argon2_memory_kib=8, access_token_ms=60_000)
OLD = SigningKey("old", b"o" * 32, 1, 1, NOW_MS - 1, 1)
PREVIOUS = SigningKey("previous", b"p" * 32, 2, 2, NOW_MS + 1, 2)
CURRENT = SigningKey("current", b"c" * 32, 3, NOW_MS, None, 3)
NEXT = SigningKey("next", b"n" * 32, 4, NOW_MS + 1, None, 4)


def ring_of(clock: MovedClock, *keys: SigningKey) -> tuple[KeyRing, Source]:
    source = Source(*keys)
    ring = KeyRing(source, clock)
    ring.hold(keys)
    return ring, source


def test_what_a_key_is_follows_from_the_time(clock: MovedClock) -> None:
    ring, _ = ring_of(clock, OLD, CURRENT, NEXT, PREVIOUS)
    assert [(key.kid, state) for key, state in ring.states()] == [
        ("next", "next"),
        ("current", "current"),
        ("previous", "previous"),
        ("old", "retired"),
    ]
    assert ring.current() == CURRENT
    assert [ring.find(key.kid) for key in (OLD, PREVIOUS, CURRENT, NEXT)] == [None, PREVIOUS, CURRENT, NEXT]
    clock.at_ms += 1
    assert [state for _, state in ring.states()] == ["current", "previous", "retired", "retired"]
    assert (ring.current(), ring.find("previous")) == (NEXT, None)


def test_clock_that_is_behind_every_key_signs_with_the_first_of_them(clock: MovedClock) -> None:
    later = replace(NEXT, kid="later", signs_from=NOW_MS + 9)
    assert ring_of(clock, later, NEXT)[0].current() == NEXT


def test_ring_without_a_key_in_force_says_what_to_do(clock: MovedClock) -> None:
    with pytest.raises(Unavailable, match="syncbridge keys rotate"):
        ring_of(clock, OLD)[0].current()


def test_key_whose_secret_is_gone_takes_no_token(clock: MovedClock) -> None:
    assert ring_of(clock, replace(CURRENT, secret=b""))[0].find("current") is None


async def test_unknown_name_asks_at_most_once_in_thirty_seconds(clock: MovedClock) -> None:
    ring, source = ring_of(clock, CURRENT)
    for number in range(1_000):
        assert not await ring.ask(f"made-up-{number}")
    assert source.reads == 1
    clock.at_ms += ASK_AGAIN_MS - 1
    await ring.ask("x")
    assert source.reads == 1
    clock.at_ms += 1
    source.keys.append(NEXT)
    assert await ring.ask("next")
    assert await ring.ask("current")
    assert source.reads == 2


# -- rotation over real records ---------------------------------------------------------------------------------


@pytest.fixture
async def authority(records: Records, clock: MovedClock) -> AsyncIterator[Authority]:
    """An authority whose tokens last a minute, so that a rotation is over soon."""
    opened = await open_authority(records, RULES, Limits(), clock)
    yield opened
    opened.close()


@pytest.fixture
async def elsewhere(records: Records, authority: Authority, clock: MovedClock) -> AsyncIterator[Authority]:
    """Another process over the same records, with the same clock."""
    opened = await open_authority(records, RULES, Limits(), clock)
    yield opened
    opened.close()


async def refused_over_a_rotation(here: Authority, there: Authority, clock: MovedClock) -> int:
    """How many of the tokens that both issue all the time the other one refuses, from before to after a rotation."""
    account = AccountId((await here.create_account("ann@example.com", "correct horse")).id)
    with pytest.raises(TokenInvalid):  # somebody used up this half minute's question
        await here.look_up("eyJhbGciOiJIUzI1NiIsImtpZCI6Im5vbmUifQ.eyJpc3MiOiJzeW5jYnJpZGdlIn0.AAAA")
    issued: list[str] = []
    refused = 0
    rotated = await there.rotation.rotate()
    await there.ring.refresh()
    step_ms = here.rules.key_refresh_ms // 2
    for step in range((rotated.retired_at - clock.at_ms) // step_ms + 10):
        clock.at_ms += step_ms
        for one in (here, there):
            if step % 2:
                await one.refresh_keys()
            issued.append((await one.begin(account)).access_token)
        fresh = issued[-2 * here.rules.access_token_ms // step_ms :]  # those that have not expired
        for token in (*fresh[-4:], fresh[0]):
            for one in (here, there):
                try:
                    one.verify(token)
                except SyncBridgeError as fault:
                    refused += fault.code != "token_expired"
    return refused


async def test_rotation_by_another_process_refuses_no_token(
    authority: Authority, elsewhere: Authority, clock: MovedClock
) -> None:
    first = authority.ring.current().kid
    assert await refused_over_a_rotation(authority, elsewhere, clock) == 0
    assert authority.ring.current().kid == elsewhere.ring.current().kid != first
    assert authority.ring.find(first) is None


@pytest.mark.parametrize("planted", ["no lead", "no refresh", "no overlap"])
async def test_rotation_without_its_parts_is_seen_to_refuse_tokens(
    authority: Authority, elsewhere: Authority, clock: MovedClock, monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    if planted == "no lead":
        elsewhere.rotation._rules = _with(RULES, key_lead_ms=0)
    elif planted == "no refresh":

        async def nothing() -> None:
            return

        monkeypatch.setattr(authority, "refresh_keys", nothing)
    else:
        monkeypatch.setattr(Rotation, "_last_use", lambda _self, signs_from: signs_from)
    assert await refused_over_a_rotation(authority, elsewhere, clock) > 0


def _with(rules: AuthRules, **changes: int) -> AuthRules:
    """The rules with changes that no configuration would be let through with."""
    planted = AuthRules(rules.issuer, rules.audience, rules.access_token_ms)
    for name, value in changes.items():
        object.__setattr__(planted, name, value)
    return planted


async def test_emergency_refuses_old_tokens_here_at_once_and_elsewhere_with_the_next_look(
    authority: Authority, elsewhere: Authority, clock: MovedClock
) -> None:
    account = (await authority.create_account("ann@example.com", "correct horse")).id
    grant = await authority.begin(account)
    told: list[AccountId | None] = []
    authority.revocations.follow(told.append)
    authority.verify(grant.access_token)
    rotated = await elsewhere.rotation.rotate_now()
    await elsewhere.ring.refresh()
    with pytest.raises(TokenInvalid):
        elsewhere.verify(grant.access_token)
    # The new key's name is unknown here: the first token of it makes the ring look.
    later = await elsewhere.begin(account)
    assert (await authority.identify(later.access_token)).kid == rotated.key.kid
    await authority.refresh_keys()
    with pytest.raises(TokenInvalid):
        authority.verify(grant.access_token)
    assert authority.verify((await authority.refresh(grant.refresh_token)).access_token).account == account
    assert next(key.secret for key in await authority._records.keys.read()) == b""


async def test_emergency_elsewhere_makes_live_connections_be_looked_at(
    authority: Authority, elsewhere: Authority
) -> None:
    told: list[AccountId | None] = []
    authority.revocations.follow(told.append)
    await authority.refresh_keys()
    assert told == []
    await elsewhere.rotation.rotate_now()
    await authority.refresh_keys()
    assert told == [None]


async def test_two_who_rotate_at_once_make_one_key(records: Records, authority: Authority, clock: MovedClock) -> None:
    clock.at_ms += authority.rules.key_rotate_ms
    both = (Rotation(records.keys, RULES, clock), Rotation(records.keys, RULES, clock))
    outcomes = await asyncio.gather(*(one.rotate_when_due() for one in both))
    assert [outcome is not None and outcome.is_new for outcome in outcomes].count(True) == 1
    assert len(await records.keys.read()) == 2


async def test_key_is_replaced_by_itself_when_it_is_old_and_not_before(
    authority: Authority, records: Records, clock: MovedClock
) -> None:
    clock.at_ms += authority.rules.key_rotate_ms - 1
    await authority.refresh_keys()
    assert len(await records.keys.read()) == 1
    clock.at_ms += 1
    await authority.refresh_keys()
    assert [state for _, state in authority.ring.states()] == ["next", "current"]
    never = Rotation(records.keys, AuthRules(key_rotate_ms=0), clock)
    clock.at_ms *= 2
    assert await never.rotate_when_due() is None


async def test_service_that_was_away_for_longer_than_its_keys_makes_a_new_one(
    authority: Authority, records: Records, clock: MovedClock
) -> None:
    rotated = await authority.rotation.rotate()
    keys = await records.keys.read()
    assert states(keys, clock.at_ms)[0][1] == "next"
    clock.at_ms = rotated.retired_at
    restarted = await open_authority(records, RULES, Limits(), clock)
    assert restarted.ring.current().kid == rotated.key.kid
    restarted.close()
