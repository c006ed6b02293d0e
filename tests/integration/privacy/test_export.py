"""An export holds everything of a person, no secret, and nothing of anybody else; it costs a bounded amount."""

from __future__ import annotations

import json

import pytest

from syncbridge.app import Service
from syncbridge.core.ids import AccountId, SessionId
from syncbridge.errors import NotFound
from syncbridge.http.exported import Export
from syncbridge.lifecycle import export as export_module
from syncbridge.lifecycle.stored import StoredLogs
from syncbridge.ports import Stretch
from syncbridge.records.personal import Personal
from tests.integration.privacy.conftest import Person
from tests.integration.service.conftest import PASSWORD, until


async def exported(person: Person) -> str:
    answer = await person.client.http.get("/v1/me/export")
    assert answer.status_code == 200, answer.text
    return answer.text


def missing(person: Person, text: str) -> list[str]:
    """The fields whose canary is not in the text."""
    return [field for field, canary in person.canaries.items() if canary not in text]


async def test_an_export_holds_everything_that_a_person_wrote(ann: Person) -> None:
    text = await exported(ann)
    assert missing(ann, text) == []
    document = Export.model_validate_json(text)
    assert {session.id for session in document.sessions} == set(ann.sessions)
    assert {device.id for device in document.devices if device.removed_at is not None} == {"old"}
    first = next(session for session in document.sessions if session.id == ann.sessions[0])
    assert [entry["version"] for entry in first.entries] == list(range(1, first.version + 1))
    assert first.state == (await ann.client.http.get(f"/v1/sessions/{first.id}/state")).json()


@pytest.mark.parametrize("left_out", ["devices", "identities", "requests", "snapshots", "incidents", "sessions"])
async def test_a_table_that_is_left_out_of_an_export_is_noticed(
    ann: Person, monkeypatch: pytest.MonkeyPatch, left_out: str
) -> None:
    async def nothing(*_: object) -> list[object]:
        return []

    monkeypatch.setattr(Personal, left_out, nothing)
    assert missing(ann, await exported(ann)) != []


async def test_an_export_holds_no_secret_and_nothing_of_anybody_else(ann: Person, bob: Person) -> None:
    text = await exported(ann)
    assert [canary for canary in bob.canaries.values() if canary in text] == []
    assert [secret for secret in (PASSWORD, "argon2", ann.client.token, "rt_") if secret in text] == []


async def test_a_log_longer_than_a_page_is_exported_whole(ann: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "ENTRIES_AT_ONCE", 2)
    monkeypatch.setattr(export_module, "SESSIONS_AT_ONCE", 1)
    document = json.loads(await exported(ann))
    assert {session["id"] for session in document["sessions"]} == set(ann.sessions)
    for session in document["sessions"]:
        assert [entry["version"] for entry in session["entries"]] == list(range(1, session["version"] + 1))


async def test_a_session_that_cannot_be_read_is_told_and_the_rest_is_there(service: Service, ann: Person) -> None:
    broken, sound = ann.sessions
    await service.sessions.delete(broken)  # type: ignore[arg-type]
    document = Export.model_validate_json(await exported(ann))
    faults = {session.id: session.fault for session in document.sessions}
    assert faults == {broken: "not_found", sound: None}


async def test_a_session_that_goes_while_it_is_exported_does_not_cut_the_rest_off(
    ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = StoredLogs.entries

    async def vanishing(self: StoredLogs, session: SessionId, after: int, count_max: int) -> Stretch:
        if after:
            raise NotFound
        return await read(self, session, after, count_max)

    monkeypatch.setattr(StoredLogs, "entries", vanishing)
    monkeypatch.setattr(export_module, "ENTRIES_AT_ONCE", 1)
    document = Export.model_validate_json(await exported(ann))
    assert [(len(session.entries), session.fault) for session in document.sessions] == [(1, "not_found")] * 2


async def test_a_token_of_one_session_exports_nothing(ann: Person) -> None:
    session = ann.sessions[0]
    code = (await ann.client.http.post(f"/v1/sessions/{session}/pairing-codes", json={})).json()["code"]
    made = await ann.client.http.post("/v1/pairing-codes/redeem", json={"code": code, "device": {"id": "tv"}})
    scoped = {"Authorization": f"Bearer {made.json()['access_token']}"}
    for method, path in (("GET", "/v1/me/export"), ("DELETE", "/v1/me")):
        answer = await ann.client.http.request(method, path, headers=scoped)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_one_account_exports_once_at_a_time(service: Service, ann: Person, bob: Person) -> None:
    exporter = service.lifecycle.exporter
    assert exporter.claim(AccountId(ann.account))
    refused = await ann.client.http.get("/v1/me/export")
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert int(refused.headers["retry-after"]) > 0
    await exported(bob)
    exporter.release(AccountId(ann.account), is_whole=False)
    await exported(ann)
    await exported(ann)


async def test_whoever_hangs_up_ends_the_work(service: Service, ann: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "CHUNK_BYTES", 1)
    session = await ann.client.make_session({"big": "x" * 200_000})
    for number in range(60):
        await ann.client.http.post(f"/v1/sessions/{session}/snapshots", json={"label": str(number)})
    async with ann.client.http.stream("GET", "/v1/me/export") as answer:
        assert await anext(answer.aiter_raw())
        assert not service.lifecycle.exporter.claim(AccountId(ann.account))
    await until(lambda: 'exports_total{outcome="cut"} 1.0' in service.telemetry.page().decode())
    assert service.lifecycle.exporter.claim(AccountId(ann.account))
