"""`Idempotency-Key`: what is sent again makes nothing twice, and nobody gets an answer that was not theirs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import structlog

from syncbridge.core.messages import DeviceInfo
from syncbridge.errors import RateLimited, Unavailable
from syncbridge.limits import Limits
from tests.unit.http.conftest import MakeWorld, World

KEY = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}
NEW = {"type": "custom", "title": "one"}


def is_replayed(answer: httpx.Response) -> bool:
    return "true" in answer.headers.get_list("idempotency-replayed")


async def test_same_request_gets_the_first_answer_again_and_makes_nothing(world: World, ann: httpx.AsyncClient) -> None:
    first, again = [await ann.post("/v1/sessions", json=NEW, headers=KEY) for _ in range(2)]
    assert (first.status_code, is_replayed(first)) == (201, False)
    assert (again.status_code, again.content, is_replayed(again)) == (201, first.content, True)
    for name in ("location", "etag", "content-type"):
        assert again.headers[name] == first.headers[name]
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert len(world.service.held) == 1
    assert "idempotency_replays_total 1.0" in world.context.telemetry.page().decode()


async def test_without_a_key_every_request_makes_something(world: World, ann: httpx.AsyncClient) -> None:
    for _ in range(2):
        assert (await ann.post("/v1/sessions", json=NEW)).status_code == 201
    assert len(world.service.held) == 2


async def test_quotes_of_the_draft_are_not_part_of_the_key(world: World, ann: httpx.AsyncClient) -> None:
    await ann.post("/v1/sessions", json=NEW, headers={"Idempotency-Key": '"k"'})
    assert is_replayed(await ann.post("/v1/sessions", json=NEW, headers={"Idempotency-Key": "k"}))


async def test_key_of_another_request_is_refused(ann: httpx.AsyncClient, session: str) -> None:
    await ann.post("/v1/sessions", json=NEW, headers=KEY)
    for path, body in (
        ("/v1/sessions", {**NEW, "title": "two"}),
        (f"/v1/sessions/{session}/snapshots", {"label": "l"}),
    ):
        answer = await ann.post(path, json=body, headers=KEY)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


async def test_keys_of_two_accounts_have_nothing_to_do_with_each_other(world: World, ann: httpx.AsyncClient) -> None:
    await ann.post("/v1/sessions", json=NEW, headers=KEY)
    async with await world.person("bob@example.com") as bob:
        answer = await bob.post("/v1/sessions", json=NEW, headers=KEY)
    assert (answer.status_code, is_replayed(answer)) == (201, False)


async def test_answer_is_not_given_to_another_device_or_a_token_of_one_session(world: World) -> None:
    async with await world.person("ann@example.com", "phone") as phone:
        await phone.post("/v1/sessions", json=NEW, headers=KEY)
        claims = world.context.authority.verify(phone.headers["authorization"].removeprefix("Bearer "))
    await world.context.authority.rosters.register(claims.account, DeviceInfo("tv"), claims.login_at)
    grant = await world.context.authority.begin(claims.account, "tv")
    async with world.client(grant.access_token) as tv:
        answer = await tv.post("/v1/sessions", json=NEW, headers=KEY)
    assert answer.json()["code"] == "idempotency_key_reused"


async def test_bad_token_learns_nothing_of_a_key(world: World, ann: httpx.AsyncClient) -> None:
    await ann.post("/v1/sessions", json=NEW, headers=KEY)
    async with world.client("no token of ours") as nobody:
        assert (await nobody.post("/v1/sessions", json=NEW, headers=KEY)).status_code == 401


@pytest.mark.parametrize("key", ["", " ", '""', "k" * 129, "a\tb", "caf\xe9"])
async def test_bad_key_is_named_and_nothing_is_made(world: World, ann: httpx.AsyncClient, key: str) -> None:
    answer = await ann.post("/v1/sessions", json=NEW, headers=[(b"Idempotency-Key", key.encode("latin-1"))])
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert "header.Idempotency-Key" in answer.json()["detail"]
    assert world.service.held == {}


async def test_two_keys_on_one_request_are_refused(ann: httpx.AsyncClient) -> None:
    answer = await ann.post("/v1/sessions", json=NEW, headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")])
    assert answer.json()["code"] == "validation_failed"


async def test_of_two_at_once_one_is_done_and_the_other_told_to_wait(
    world: World, ann: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, free = asyncio.Event(), asyncio.Event()
    create = world.service.create

    async def slow(**of: Any) -> Any:
        begun.set()
        await free.wait()
        return await create(**of)

    monkeypatch.setattr(world.service, "create", slow)
    first = asyncio.create_task(ann.post("/v1/sessions", json=NEW, headers=KEY))
    await begun.wait()
    second = await ann.post("/v1/sessions", json=NEW, headers=KEY)
    assert (second.status_code, second.json()["code"]) == (409, "idempotency_in_progress")
    assert (second.headers["retry-after"], second.json()["retry"]) == ("1", "later")
    other = await ann.post("/v1/sessions", json={**NEW, "title": "two"}, headers=KEY)
    assert other.json()["code"] == "idempotency_key_reused"
    free.set()
    done = await first
    again = await ann.post("/v1/sessions", json=NEW, headers=KEY)
    assert (again.content, is_replayed(again), len(world.service.held)) == (done.content, True, 1)


async def test_refusal_that_would_be_the_same_again_is_kept(ann: httpx.AsyncClient) -> None:
    body = {"type": "none"}
    first, again = [await ann.post("/v1/sessions", json=body, headers=KEY) for _ in range(2)]
    assert (first.status_code, first.json()["code"], is_replayed(first)) == (422, "validation_failed", False)
    assert (again.content, again.status_code, is_replayed(again)) == (first.content, 422, True)
    assert again.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("fault", [Unavailable(), RateLimited(), RuntimeError("ours")], ids=["away", "later", "ours"])
async def test_answer_that_says_later_is_not_kept(
    world: World, ann: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    async def fail(**of: Any) -> Any:
        raise fault

    with monkeypatch.context() as broken, structlog.testing.capture_logs():
        broken.setattr(world.service, "create", fail)
        assert (await ann.post("/v1/sessions", json=NEW, headers=KEY)).status_code in (429, 500, 503)
    answer = await ann.post("/v1/sessions", json=NEW, headers=KEY)
    assert (answer.status_code, is_replayed(answer)) == (201, False)


async def test_body_that_was_never_judged_does_not_use_up_the_key(ann: httpx.AsyncClient) -> None:
    assert (await ann.post("/v1/sessions", json={"title": 1}, headers=KEY)).status_code == 422
    assert (await ann.post("/v1/sessions", content=b"{", headers=KEY)).status_code in (400, 415)
    answer = await ann.post("/v1/sessions", json=NEW, headers=KEY)
    assert (answer.status_code, is_replayed(answer)) == (201, False)


async def test_request_that_a_crash_cut_off_holds_its_key_for_the_lease_and_no_longer(
    world: World, ann: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def hang(**of: Any) -> Any:
        begun.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as broken:
        broken.setattr(world.service, "create", hang)
        cut_off = asyncio.create_task(ann.post("/v1/sessions", json=NEW, headers=KEY))
        await begun.wait()
        cut_off.cancel()
        await asyncio.gather(cut_off, return_exceptions=True)
    world.clock.at_ms += Limits().idempotency_lease_ms - 1
    assert (await ann.post("/v1/sessions", json=NEW, headers=KEY)).status_code == 409
    world.clock.at_ms += 1
    assert (await ann.post("/v1/sessions", json=NEW, headers=KEY)).status_code == 201


async def test_key_is_good_for_its_time_and_then_gone(world: World, ann: httpx.AsyncClient) -> None:
    await ann.post("/v1/sessions", json=NEW, headers=KEY)
    claims = world.context.authority.verify(ann.headers["authorization"].removeprefix("Bearer "))
    world.clock.at_ms += Limits().idempotency_key_ms - 1
    keys = world.context.records.idempotency
    assert await keys.forget_expired(world.clock.at_ms) == 0
    grant = await world.context.authority.begin(claims.account)
    async with world.client(grant.access_token) as later:
        assert is_replayed(await later.post("/v1/sessions", json=NEW, headers=KEY))
        world.clock.at_ms += 1
        assert await keys.forget_expired(world.clock.at_ms) == 1
        assert not is_replayed(await later.post("/v1/sessions", json=NEW, headers=KEY))


async def test_answer_survives_a_restart(make_world: MakeWorld) -> None:
    before = await make_world()
    async with await before.person("ann@example.com") as ann:
        first = await ann.post("/v1/sessions", json=NEW, headers=KEY)
        token = ann.headers["authorization"].removeprefix("Bearer ")
    after = await make_world()
    async with after.client(token) as ann:
        again = await ann.post("/v1/sessions", json=NEW, headers=KEY)
    assert (again.content, is_replayed(again), after.service.held) == (first.content, True, {})


async def test_keys_of_an_account_are_bounded_and_the_oldest_answer_goes_first(make_world: MakeWorld) -> None:
    world = await make_world(limits=Limits(idempotency_keys_max=2, requests_inflight_max=2))
    async with await world.person("ann@example.com") as ann:
        for key in ("a", "b", "c"):
            world.clock.at_ms += 1
            await ann.post("/v1/sessions", json=NEW, headers={"Idempotency-Key": key})
        replayed = [
            is_replayed(await ann.post("/v1/sessions", json=NEW, headers={"Idempotency-Key": key})) for key in "cba"
        ]
    assert replayed == [True, True, False]
    assert 'limit_hits_total{limit="idempotency_keys_max"} 2.0' in world.context.telemetry.page().decode()


async def test_what_makes_something_takes_part_and_what_answers_secrets_does_not(
    world: World, ann: httpx.AsyncClient, session: str
) -> None:
    here = f"/v1/sessions/{session}"
    made = await ann.post(f"{here}/snapshots", json={"label": "l"})
    requests: list[tuple[str, Any]] = [
        (f"{here}/snapshots", {"label": "l"}),
        (f"{here}/snapshots/{made.json()['id']}/restore", None),
        ("/v1/devices", {"id": "tv"}),
        (f"{here}/handoffs", {"mode": "take", "to": "tv"}),
    ]
    for number, (path, body) in enumerate(requests):
        headers = {"Idempotency-Key": f"k{number}"}
        answers = [await ann.post(path, json=body, headers=headers) for _ in range(2)]
        assert [is_replayed(one) for one in answers] == [False, True], path
        assert answers[0].content == answers[1].content
    codes = [(await ann.post(f"{here}/pairing-codes", headers=KEY)).json()["code"] for _ in range(2)]
    assert codes[0] != codes[1]
    async with world.context.records.database.reading() as connection:
        rows = await connection.exec_driver_sql(
            "SELECT count(*), group_concat(CAST(body AS TEXT)) FROM idempotency_keys"
        )
        count, bodies = rows.one()
    assert count == len(requests)
    assert not [code for code in codes if code in bodies]


async def test_records_that_fail_after_the_deed_do_not_turn_its_answer_into_an_error(
    world: World, ann: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def keep(*of: Any) -> None:
        raise Unavailable

    with monkeypatch.context() as broken:
        broken.setattr(world.context.records.idempotency, "keep", keep)
        assert (await ann.post("/v1/sessions", json=NEW, headers=KEY)).status_code == 201
    assert (await ann.post("/v1/sessions", json=NEW, headers=KEY)).json()["code"] == "idempotency_in_progress"


async def test_deletion_of_the_account_takes_its_keys_along(world: World, ann: httpx.AsyncClient) -> None:
    await ann.post("/v1/sessions", json=NEW, headers=KEY)
    async with world.context.records.database.transaction() as connection:
        await connection.exec_driver_sql("DELETE FROM accounts")
        rows = await connection.exec_driver_sql("SELECT count(*) FROM idempotency_keys")
        assert rows.scalar_one() == 0


async def test_answer_is_not_given_again_to_who_was_thrown_out_while_their_request_came_in(
    world: World, ann: httpx.AsyncClient
) -> None:
    first = await ann.post("/v1/sessions", json=NEW, headers=KEY)
    authority = world.context.authority
    account = authority.verify(ann.headers["Authorization"].removeprefix("Bearer ")).account

    async def slowly() -> AsyncIterator[bytes]:
        yield first.request.content[:5]
        await authority.revoke_account(account)
        yield first.request.content[5:]

    headers = KEY | {"Content-Type": "application/json"}
    again = await ann.post("/v1/sessions", content=slowly(), headers=headers)
    assert (again.status_code, again.json()["code"], is_replayed(again)) == (401, "token_revoked", False)
