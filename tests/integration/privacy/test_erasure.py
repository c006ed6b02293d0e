"""After an erasure nothing of the person is anywhere, and everybody else has everything."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from syncbridge.app import Service
from syncbridge.config import Settings
from syncbridge.core.ids import AccountId, SessionId
from syncbridge.errors import Unavailable
from syncbridge.lifecycle.stored import StoredLogs
from syncbridge.records import erasures as erasures_module
from syncbridge.records.database import Database
from syncbridge.records.erasures import OF_ACCOUNTS, OF_SESSIONS, Erasures
from syncbridge.records.schema import accounts, metadata, refresh_tokens, sessions
from tests.integration.privacy.conftest import CHEAP, Person, client_of, files_that_hold
from tests.integration.service.conftest import PASSWORD, Client

Plant = Callable[[pytest.MonkeyPatch], None]


async def erase(person: Person) -> dict[str, Any]:
    answer = await person.client.http.request("DELETE", "/v1/me")
    assert answer.status_code == 200, answer.text
    receipt: dict[str, Any] = answer.json()
    return receipt


def held(person: Person, data_dir: Path) -> dict[str, list[str]]:
    """The person's canaries that are in any file."""
    return files_that_hold(data_dir, *person.canaries.values(), *person.sessions)


def journal_of(person: Person, data_dir: Path) -> list[Any]:
    """The person's rows of the journal, byte for byte."""
    db = sqlite3.connect(f"file:{data_dir / 'sessions.db'}?mode=ro", uri=True)
    rows: list[Any] = []
    for session in person.sessions:
        for table in ("journal", "snapshots", "heads"):
            rows += db.execute(f"SELECT * FROM {table} WHERE session = ? ORDER BY 1, 2", (session,)).fetchall()
    db.close()
    return rows


async def everything(person: Person) -> dict[str, Any]:
    document: dict[str, Any] = (await person.client.http.get("/v1/me/export")).json()
    del document["exported_at"]
    return document


async def held_back() -> None:
    """Nothing that was noted is written."""


async def test_nothing_of_an_erased_person_is_left_and_nobody_else_lost_anything(
    service: Service, settings: Settings, ann: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = settings.data_dir
    assert held(ann, data_dir).keys() >= set(ann.canaries.values()), "the canaries are where the check looks"
    # What is written behind, of the devices that are put out too, would come between the two looks.
    await service.records.incidents.flush()
    monkeypatch.setattr(service.records.incidents, "flush", held_back)
    before, rows = await everything(bob), journal_of(bob, data_dir)
    incidents = [
        one for session in ann.sessions for one in await service.records.incidents.of_session(SessionId(session))
    ]
    receipt = await erase(ann)
    assert held(ann, data_dir) == {}
    page = service.telemetry.page().decode()
    assert [canary for canary in ann.canaries.values() if canary in page] == []
    assert (await everything(bob), journal_of(bob, data_dir)) == (before, rows)
    assert receipt["status"] == "erased"
    assert receipt["finished_at"] >= receipt["requested_at"]
    assert receipt["erased"] == {
        "accounts": 1,
        "archived_states": 0,  # the live store is its own archive here
        "devices": 4,
        "identities": 1,
        "idempotency_keys": 1,
        "incidents": len(incidents),
        "log_ins": 2,
        "pairing_codes": 0,  # used up, or refused with the tokens
        "sessions": 2,
        "snapshots": 1,
        "tokens": 2,
    }
    assert (await bob.client.http.get(f"/v1/erasures/{receipt['receipt']}")).json() == receipt
    assert [text for text in ann.canaries.values() if text in json.dumps(receipt)] == []


def leave_the_logs(patch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> None: ...

    patch.setattr(StoredLogs, "delete", nothing)


def leave_the_write_ahead_log(patch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> None: ...

    patch.setattr(Database, "fold", nothing)


def leave_a_table_of_the_account(patch: pytest.MonkeyPatch) -> None:
    async def without_cascades(self: Erasures, account: AccountId) -> None:
        async with self._database.transaction() as connection:
            await connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")

    patch.setattr(Erasures, "erase_account", without_cascades)


@pytest.mark.parametrize("plant", [leave_the_logs, leave_the_write_ahead_log, leave_a_table_of_the_account])
async def test_an_erasure_that_leaves_something_is_noticed(
    settings: Settings, ann: Person, monkeypatch: pytest.MonkeyPatch, plant: Plant
) -> None:
    plant(monkeypatch)
    await erase(ann)
    assert held(ann, settings.data_dir) != {}


def test_every_table_that_names_a_person_or_a_session_is_erased_and_counted() -> None:
    counted = {table.name for _, table in (*OF_SESSIONS, *OF_ACCOUNTS)}
    counted |= {accounts.name, sessions.name, refresh_tokens.name}
    personal = {
        table.name
        for table in metadata.tables.values()
        if any(key.column.table.name in ("accounts", "sessions", "token_families") for key in table.foreign_keys)
    }
    assert personal <= counted
    assert {"devices", "snapshots", "incidents", "identities"} <= personal


async def test_live_connections_are_closed_with_the_reason(ann: Person) -> None:
    assert ann.phone is not None
    await erase(ann)
    error = await ann.phone.hear("error")
    assert error["code"] == "account_erased"
    await ann.phone.socket.wait_closed()
    assert ann.phone.socket.close_code == 4403


async def refused(client: Client, session: str) -> None:
    """No way back in: not by REST, not by a hello, not by refreshing, not by logging in."""
    answer = await client.http.get(f"/v1/sessions/{session}/state")
    assert answer.status_code == 401
    device = await client.connect()
    await device.say(type="hello", token=client.token, device={"id": "phone", "name": "back"})
    error = await device.hear("error")
    assert error["code"] in ("token_invalid", "token_revoked")
    again = await client.http.post("/v1/auth/token", json={"email": "ann@example.com", "password": PASSWORD})
    assert (again.status_code, again.json()["code"]) == (401, "bad_credentials")


async def test_a_stale_device_stays_out_and_the_address_begins_anew_also_after_a_restart(
    settings: Settings, stack: AsyncExitStack
) -> None:
    async with Service.running(settings) as service:
        client = client_of(f"http://127.0.0.1:{service.server.port}", stack)
        await client.make_account()
        session = await client.make_session({"n": "canary-state"})
        assert (await client.http.request("DELETE", "/v1/me", json={"password": PASSWORD})).status_code == 200
        await refused(client, session)
    async with Service.running(settings) as service:
        stale = client_of(f"http://127.0.0.1:{service.server.port}", stack)
        stale._use(client.token)
        await refused(stale, session)
        fresh = client_of(f"http://127.0.0.1:{service.server.port}", stack)
        await fresh.make_account()
        assert (await fresh.http.get("/v1/sessions")).json()["sessions"] == []
        assert (await fresh.http.get(f"/v1/sessions/{session}/state")).status_code == 404
        assert (await fresh.http.get("/v1/devices")).json()["devices"] == []
        device = await fresh.device("phone")
        await device.say(type="join", session=session)
        assert (await device.hear("error"))["code"] == "not_found"


async def test_an_old_log_in_needs_the_password_and_a_wrong_one_erases_nothing(
    settings: Settings, stack: AsyncExitStack
) -> None:
    strict = settings.model_copy(update={"auth": replace(CHEAP, fresh_login_ms=1)})
    service = await stack.enter_async_context(Service.running(strict))
    client = client_of(f"http://127.0.0.1:{service.server.port}", stack)
    await client.make_account()
    stale = await client.http.request("DELETE", "/v1/me")
    assert (stale.status_code, stale.json()["code"]) == (403, "proof_required")
    wrong = await client.http.request("DELETE", "/v1/me", json={"password": "not this one"})
    assert (wrong.status_code, wrong.json()["code"]) == (401, "bad_credentials")
    assert (await client.http.get("/v1/me")).status_code == 200
    assert (await client.http.request("DELETE", "/v1/me", json={"password": PASSWORD})).status_code == 200


STEPS: tuple[tuple[type, str, int], ...] = (
    (StoredLogs, "delete", 1),
    (Erasures, "erase_session", 1),
    (StoredLogs, "delete", 2),
    (Erasures, "erase_session", 2),
    (Erasures, "erase_account", 1),
    (Database, "fold", 1),
    (Erasures, "finish", 1),
)


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize(("owner", "step", "turn"), STEPS, ids=lambda value: getattr(value, "__name__", str(value)))
async def test_an_erasure_that_died_anywhere_is_finished_by_the_next_life_with_the_right_receipt(
    settings: Settings,
    left: Person,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    step: str,
    turn: int,
) -> None:
    turns = 0
    done = getattr(owner, step)

    async def dying(*arguments: Any) -> Any:
        nonlocal turns
        turns += 1
        if turns == turn:
            raise Crash
        return await done(*arguments)

    async with Service.opened(settings) as service:
        await service.lifecycle.eraser.request(AccountId(left.account))
        with monkeypatch.context() as patch:
            patch.setattr(owner, step, dying)
            with pytest.raises(Crash):
                await service.lifecycle.eraser.run()
    async with Service.opened(settings) as service:
        await service.lifecycle.eraser.resume()
        await service.lifecycle.eraser.run()
        finished = await service.records.erasures.get(AccountId(left.account))
        assert finished is not None
        assert finished.finished_at is not None
        assert (finished.erased["sessions"], finished.erased["accounts"], finished.erased["devices"]) == (2, 1, 4)
        assert held(left, settings.data_dir) == {}


async def test_an_erasure_that_does_not_get_through_is_told_once_and_tried_on(
    settings: Settings, left: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise Unavailable

    async with Service.opened(settings) as service:
        await service.lifecycle.eraser.request(AccountId(left.account))
        with monkeypatch.context() as patch, capture_logs() as lines:
            patch.setattr(Database, "fold", away)
            for _ in range(3):
                await service.lifecycle.eraser.run()
        assert [line["log_level"] for line in lines] == ["warning"]
        assert 'erasures_total{outcome="failed"} 3.0' in service.telemetry.page().decode()
        waited = await service.lifecycle.eraser.wait(AccountId(left.account), 1)
        assert waited.finished_at is None
        await service.lifecycle.eraser.run()
        assert (await service.lifecycle.eraser.wait(AccountId(left.account), 1)).finished_at is not None


async def test_records_that_are_away_are_no_erasure_that_fails(
    settings: Settings, left: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise Unavailable

    async with Service.opened(settings) as service:
        with monkeypatch.context() as patch, capture_logs() as lines:
            patch.setattr(service.records.erasures, "pending", away)
            await service.lifecycle.eraser.run()
        assert lines == []
        assert 'erasures_total{outcome="failed"} 0.0' in service.telemetry.page().decode()
        await service.lifecycle.eraser.request(AccountId(left.account))
        await service.lifecycle.eraser.run()
        assert held(left, settings.data_dir) == {}


async def test_a_log_that_comes_back_with_an_old_copy_of_the_journal_is_erased_again(
    settings: Settings, left: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = settings.data_dir / "sessions.db"
    copy = journal.read_bytes()
    async with Service.opened(settings) as service:
        await service.lifecycle.eraser.request(AccountId(left.account))
        await service.lifecycle.eraser.run()
    journal.write_bytes(copy)
    (settings.data_dir / "sessions.mark").unlink()
    assert held(left, settings.data_dir) != {}
    monkeypatch.setattr("syncbridge.lifecycle.retention.SETTLED_MS", -1)
    async with Service.opened(settings) as service:
        assert (await service.lifecycle.retention.run())["session_erased"] == 2
        assert held(left, settings.data_dir) == {}


def test_a_receipt_s_id_is_not_the_account_s() -> None:
    assert erasures_module.receipt_of("acc_7m2k") == "ers_7m2k"
