"""The port's promises: answers once, without the database where nothing changed."""

import asyncio
from typing import TypeVar

import pytest

from syncbridge.auth import AccountGatekeeper, Authority, AuthRules
from syncbridge.auth.rosters import AWAY_MAX_MS, GAP_MAX_MS
from syncbridge.core.ids import AccountId, DeviceId
from syncbridge.core.messages import DeviceInfo
from syncbridge.errors import Unavailable
from syncbridge.ports import Admission, Gatekeeper, Identity, Refusal
from syncbridge.records import Records, Roster
from tests.unit.auth.conftest import MovedClock

Answer = TypeVar("Answer")
TV = DeviceInfo("tv", "TV", "linux", ["audio"])


@pytest.fixture
def gatekeeper(authority: Authority) -> Gatekeeper:
    """The gatekeeper of that authority."""
    return AccountGatekeeper(authority)


async def admit(gatekeeper: Gatekeeper, token: str, device: DeviceInfo) -> Admission | Refusal:
    answer: asyncio.Future[Admission | Refusal] = asyncio.get_running_loop().create_future()
    gatekeeper.admit(token, device, answer.set_result)
    return await answer


async def renew(gatekeeper: Gatekeeper, token: str, account: AccountId, device: str) -> Identity | Refusal:
    answer: asyncio.Future[Identity | Refusal] = asyncio.get_running_loop().create_future()
    gatekeeper.renew(token, account, DeviceId(device), answer.set_result)
    return await answer


async def a_token(authority: Authority, email: str = "a@b", device: str | None = None) -> tuple[AccountId, str]:
    account = (await authority.create_account(email, "password")).id
    grant = await authority.begin(account, DeviceId(device) if device else None)
    return account, grant.access_token


async def test_first_hello_registers_and_answers_the_roster(authority: Authority, gatekeeper: Gatekeeper) -> None:
    account, token = await a_token(authority)
    await admit(gatekeeper, token, DeviceInfo("phone"))
    admission = await admit(gatekeeper, token, TV)
    assert isinstance(admission, Admission)
    assert admission.identity.account == account
    assert (admission.device, admission.roster) == (TV, (DeviceInfo("phone"), TV))


async def test_repeated_hello_is_answered_at_once_without_the_database(
    authority: Authority, gatekeeper: Gatekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, token = await a_token(authority)
    first = await admit(gatekeeper, token, TV)

    def touched() -> None:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(authority._records.database, "transaction", touched)
    monkeypatch.setattr(authority._records.database, "reading", touched)
    answers: list[Admission | Refusal] = []
    gatekeeper.admit(token, TV, answers.append)
    assert answers == [first]


async def test_hello_with_another_name_is_registered(authority: Authority, gatekeeper: Gatekeeper) -> None:
    account, token = await a_token(authority)
    await admit(gatekeeper, token, TV)
    await admit(gatekeeper, token, DeviceInfo("tv", "New"))
    assert (await authority.rosters.get(account)).infos() == (DeviceInfo("tv", "New"),)


async def test_full_account_is_refused_with_its_devices(authority: Authority, gatekeeper: Gatekeeper) -> None:
    _, token = await a_token(authority)
    for number in range(5):
        await admit(gatekeeper, token, DeviceInfo(f"d{number}"))
    refusal = await admit(gatekeeper, token, TV)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "device_limit"
    assert [device.id for device in refusal.devices] == ["d0", "d1", "d2", "d3", "d4"]


async def test_bound_token_lets_only_its_device_in(authority: Authority, gatekeeper: Gatekeeper) -> None:
    _, token = await a_token(authority, device="phone")
    refusal = await admit(gatekeeper, token, TV)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "forbidden"
    assert isinstance(await admit(gatekeeper, token, DeviceInfo("phone")), Admission)


async def test_removed_device_is_refused_from_memory_and_from_the_table(
    authority: Authority, gatekeeper: Gatekeeper, clock: MovedClock
) -> None:
    account, token = await a_token(authority)
    await admit(gatekeeper, token, TV)
    clock.at_ms += 1
    await authority.remove_device(account, DeviceId("tv"))
    for forget in (False, True):
        if forget:
            authority.rosters.forget(account)
        refusal = await admit(gatekeeper, token, TV)
        assert isinstance(refusal, Refusal)
        assert refusal.code == "device_unknown"


async def test_bad_and_expired_tokens_are_refused_by_their_codes(
    authority: Authority, gatekeeper: Gatekeeper, clock: MovedClock
) -> None:
    _, token = await a_token(authority)
    clock.at_ms += 900_000
    for given, code in ((token, "token_expired"), ("nonsense", "token_invalid")):
        refusal = await admit(gatekeeper, given, TV)
        assert isinstance(refusal, Refusal)
        assert refusal.code == code


async def test_renewal_takes_only_the_same_account_and_device(authority: Authority, gatekeeper: Gatekeeper) -> None:
    ann, token = await a_token(authority)
    bob, others = await a_token(authority, "bob@b")
    await admit(gatekeeper, token, TV)
    renewed = await renew(gatekeeper, (await authority.begin(ann)).access_token, ann, "tv")
    assert isinstance(renewed, Identity)
    assert renewed.account == ann
    for answer in (
        await renew(gatekeeper, others, ann, "tv"),
        await renew(gatekeeper, (await authority.begin(ann, DeviceId("phone"))).access_token, ann, "tv"),
    ):
        assert isinstance(answer, Refusal)
        assert answer.code == "forbidden"
    unknown = await renew(gatekeeper, others, bob, "tv")
    assert isinstance(unknown, Refusal)
    assert unknown.code == "device_unknown"


@pytest.mark.parametrize(("fault", "code"), [(Unavailable(), "unavailable"), (RuntimeError("secret"), "internal")])
async def test_broken_records_are_an_answer_too(
    authority: Authority,
    gatekeeper: Gatekeeper,
    records: Records,
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception,
    code: str,
) -> None:
    _, token = await a_token(authority)

    async def broken(*_args: object, **_named: object) -> None:
        raise fault

    monkeypatch.setattr(records.devices, "register", broken)
    refusal = await admit(gatekeeper, token, TV)
    assert isinstance(refusal, Refusal)
    assert refusal.code == code
    assert "secret" not in refusal.message


# -- while the database is away ---------------------------------------------------------------------------------


def cut_off(records: Records, patch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise Unavailable

    patch.setattr(records.database, "reading", away)
    patch.setattr(records.database, "transaction", away)


async def test_a_device_that_was_here_lately_comes_back_while_the_database_is_away(
    records: Records,
    authority: Authority,
    gatekeeper: Gatekeeper,
    clock: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    account, token = await a_token(authority, device="tv")
    first = await admit(gatekeeper, token, TV)
    clock.at_ms += 120_000  # its roster is too old to be taken without a look
    await authority.catch_up()
    await admit(gatekeeper, token, TV)
    with monkeypatch.context() as patch:
        cut_off(records, patch)
        clock.at_ms += 600_000
        assert await admit(gatekeeper, token, TV) == first
        assert isinstance(await renew(gatekeeper, token, account, "tv"), Identity)
        other = await admit(gatekeeper, token, DeviceInfo("tv", "another name"))
        assert isinstance(other, Refusal)
        assert other.code == "unavailable"
    assert await admit(gatekeeper, token, TV) == first


async def test_a_roster_is_believed_no_longer_than_a_token_lives(
    records: Records,
    authority: Authority,
    gatekeeper: Gatekeeper,
    clock: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    account, token = await a_token(authority, device="tv")
    await admit(gatekeeper, token, TV)
    assert AuthRules().access_token_ms == AWAY_MAX_MS
    cut_off(records, monkeypatch)
    clock.at_ms += AWAY_MAX_MS
    assert authority.rosters.lately(account) is not None
    clock.at_ms += 1
    assert authority.rosters.lately(account) is None


async def test_after_a_silence_every_roster_is_read_anew(
    authority: Authority, gatekeeper: Gatekeeper, clock: MovedClock
) -> None:
    account, token = await a_token(authority, device="tv")
    await authority.catch_up()
    await admit(gatekeeper, token, TV)
    clock.at_ms += 1_000
    await authority.catch_up()
    assert authority.rosters.lately(account) is not None
    clock.at_ms += GAP_MAX_MS + 1  # what others told meanwhile may be over and gone
    await authority.catch_up()
    assert authority.rosters.lately(account) is None


async def test_a_roster_read_for_a_stranger_passes_over_memory_and_is_told_to_who_follows(
    authority: Authority, gatekeeper: Gatekeeper, records: Records, clock: MovedClock
) -> None:
    account, token = await a_token(authority)
    await admit(gatekeeper, token, TV)
    told: asyncio.Queue[tuple[DeviceInfo, ...]] = asyncio.Queue()
    authority.rosters.follow(lambda _account, roster: told.put_nowait(roster))
    car = DeviceInfo("car", "Car")
    await records.devices.register(  # as another node does it
        account, car, login_at=clock.at_ms, devices_max=authority.plans.devices_max, now_ms=clock.at_ms
    )
    assert authority.rosters.known(account) == await authority.rosters.get(account)
    gatekeeper.read_roster(account)
    assert {info.id for info in await asyncio.wait_for(told.get(), 10)} == {"tv", "car"}
    assert (await authority.rosters.get(account)).get("car") is not None


async def test_who_asks_for_a_roster_while_it_is_read_has_it_read_once_more_whoever_else_asks(
    authority: Authority, gatekeeper: Gatekeeper, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, _ = await a_token(authority)
    told: asyncio.Queue[object] = asyncio.Queue()
    authority.rosters.follow(lambda _account, _roster: told.put_nowait(None))
    reads: list[AccountId] = []
    read = records.devices.roster

    async def counted(account: AccountId) -> Roster:
        reads.append(account)
        return await read(account)

    monkeypatch.setattr(records.devices, "roster", counted)
    for _ in range(100):
        gatekeeper.read_roster(account)
    for _ in range(2):
        await asyncio.wait_for(told.get(), 10)
    gatekeeper.read_roster(account)
    await asyncio.wait_for(told.get(), 10)
    assert reads == [account] * 3


async def test_a_change_made_while_the_roster_is_read_is_not_undone_by_what_was_read(
    authority: Authority, gatekeeper: Gatekeeper, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, token = await a_token(authority)
    await admit(gatekeeper, token, TV)
    read, told = records.devices.roster, []
    authority.rosters.follow(lambda _account, roster: told.append([info.name for info in roster]))

    async def overtaken(account: AccountId) -> Roster:
        monkeypatch.setattr(records.devices, "roster", read)
        roster = await read(account)
        await authority.rosters.rename(account, DeviceId("tv"), "Kitchen")
        return roster

    monkeypatch.setattr(records.devices, "roster", overtaken)
    await authority.rosters.read_anew(account)
    assert told == [["Kitchen"], ["Kitchen"]]


async def test_a_roster_that_cannot_be_read_changes_nothing_and_may_be_asked_for_again(
    authority: Authority, gatekeeper: Gatekeeper, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, token = await a_token(authority)
    await admit(gatekeeper, token, TV)
    told: asyncio.Queue[object] = asyncio.Queue()
    authority.rosters.follow(lambda _account, _roster: told.put_nowait(None))
    tried, read = asyncio.Event(), records.devices.roster

    async def away(account: AccountId) -> Roster:
        tried.set()
        raise Unavailable

    monkeypatch.setattr(records.devices, "roster", away)
    gatekeeper.read_roster(account)
    await asyncio.wait_for(tried.wait(), 10)
    monkeypatch.setattr(records.devices, "roster", read)
    assert (authority.rosters.known(account), told.empty()) == (await authority.rosters.get(account), True)
    gatekeeper.read_roster(account)
    await asyncio.wait_for(told.get(), 10)
