"""What is past its time goes from everywhere, when it is past it and not before; whoever follows it is told."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from syncbridge.adapters.embedded.journal import Journal
from syncbridge.app import Service
from syncbridge.config import Settings
from syncbridge.core.ids import SessionId
from syncbridge.errors import Unavailable
from syncbridge.lifecycle import RetentionJob
from syncbridge.lifecycle import retention as retention_module
from syncbridge.lifecycle.stored import StoredLogs
from syncbridge.lifecycle.trust import ClockTrust
from syncbridge.records.database import Database
from syncbridge.records.sessions import Sessions
from tests.conformance.clocks import SetClock
from tests.integration.privacy.conftest import Person, client_of, files_that_hold
from tests.integration.service.conftest import Client

DAY_MS = 86_400_000


def later(service: Service, days: float) -> RetentionJob:
    """The service's job, so many days from now."""
    return RetentionJob(
        StoredLogs(service.store, timeout_ms=service.settings.limits.store_timeout_ms),
        service.records,
        service.lifecycle.gone,
        clock=SetClock(service.clock.now_ms() + int(days * DAY_MS)),
        telemetry=service.telemetry,
        rules=service.settings.retention,
    )


@pytest.fixture
async def client(service: Service, stack: AsyncExitStack) -> Client:
    """Somebody with an account."""
    client = client_of(f"http://127.0.0.1:{service.server.port}", stack)
    await client.make_account()
    return client


async def ended(client: Client, status: str) -> str:
    """A session in this status, with canaries named for it, and a labelled snapshot."""
    body = {"type": "custom", "title": f"canary-title-{status}", "settings": {"s": f"canary-settings-{status}"}}
    made = await client.http.post("/v1/sessions", json=body | {"state": {"s": f"canary-state-{status}"}})
    session = str(made.json()["id"])
    await client.http.post(f"/v1/sessions/{session}/snapshots", json={"label": f"canary-label-{status}"})
    if status != "active":
        assert (await client.http.patch(f"/v1/sessions/{session}", json={"status": status})).status_code == 200
    return session


def canaries(status: str) -> list[str]:
    return [f"canary-{field}-{status}" for field in ("title", "settings", "state", "label")]


async def listed(client: Client) -> set[str]:
    return {one["id"] for one in (await client.http.get("/v1/sessions")).json()["sessions"]}


async def test_sessions_and_snapshots_go_each_at_their_time_and_from_every_file(
    service: Service, settings: Settings, client: Client
) -> None:
    sessions = {status: await ended(client, status) for status in ("active", "paused", "completed", "archived")}
    await service.records.directory.flush()
    assert (await later(service, 6.9).run()).keys() <= {"pairing_code"}
    removed = await later(service, 7.1).run()
    # The labelled snapshots of sessions that live on end seven days after those were last changed.
    assert removed == {"session_active": 1, "session_paused": 1, "snapshot": 2}
    assert await listed(client) == {sessions["completed"], sessions["archived"]}
    gone = canaries("active") + canaries("paused") + [sessions["active"], sessions["paused"]]
    assert files_that_hold(settings.data_dir, *gone, "canary-label-completed") == {}
    assert len(files_that_hold(settings.data_dir, *canaries("completed"))) == 3
    assert (await later(service, 30.1).run())["session_completed"] == 1
    assert files_that_hold(settings.data_dir, *canaries("completed")) == {}
    assert await listed(client) == {sessions["archived"]}
    assert (await later(service, 180.1).run())["session_archived"] == 1
    assert await listed(client) == set()
    assert files_that_hold(settings.data_dir, *canaries("archived"), *sessions.values()) == {}
    page = service.telemetry.page().decode()
    assert 'retention_removed_total{kind="session_paused"} 1.0' in page
    assert "retention_last_run_timestamp_seconds 1." in page


Plant = Callable[[pytest.MonkeyPatch], None]


def forget_to_fold_the_journal(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Journal, "fold", lambda self: True)


def forget_to_fold_the_records(patch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Database) -> None: ...

    patch.setattr(Database, "fold", nothing)


def forget_the_listing(patch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Sessions, *some: SessionId) -> None: ...

    patch.setattr(Sessions, "remove", nothing)


@pytest.mark.parametrize("plant", [forget_to_fold_the_journal, forget_to_fold_the_records, forget_the_listing])
async def test_a_run_that_leaves_something_is_noticed(
    service: Service, settings: Settings, client: Client, monkeypatch: pytest.MonkeyPatch, plant: Plant
) -> None:
    await ended(client, "active")
    plant(monkeypatch)
    await later(service, 8).run()
    assert files_that_hold(settings.data_dir, *canaries("active")) != {}


async def test_a_device_that_follows_a_session_is_told_that_its_time_is_over(service: Service, client: Client) -> None:
    session = await ended(client, "active")
    kept = await ended(client, "archived")
    device = await client.device("phone", session, kept)
    await later(service, 8).run()
    left = await device.hear("left")
    assert (left["session"], left["reason"]) == (session, "expired")
    seq = await device.push(kept, 2, "/notes", {})
    assert (await device.hear("ack", "reject"))["seq"] == seq
    await device.say(type="join", session=session)
    assert (await device.hear("error"))["code"] == "not_found"
    assert (await client.http.get(f"/v1/sessions/{session}/snapshots")).status_code == 404


async def test_a_session_that_is_changed_lives_on(service: Service, client: Client) -> None:
    session = await ended(client, "active")
    device = await client.device("phone", session)
    await device.push(session, 1, "/n", 1)
    await device.hear("ack")
    assert "session_active" not in await later(service, 6.99).run()
    assert session in await listed(client)


async def test_a_log_without_a_listing_is_listed_again(
    service: Service, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await ended(client, "paused")
    await service.records.sessions.remove(SessionId(session))
    assert await listed(client) == set()
    await service.lifecycle.retention.run()
    assert await listed(client) == set(), "it may be one that is being made just now"
    monkeypatch.setattr(retention_module, "SETTLED_MS", -1)
    await service.lifecycle.retention.run()
    (found,) = (await client.http.get("/v1/sessions")).json()["sessions"]
    assert (found["id"], found["status"], found["title"]) == (session, "paused", "canary-title-paused")
    assert (await client.http.get(f"/v1/sessions/{session}")).status_code == 200


async def test_a_listing_that_fell_behind_its_log_is_mended(
    service: Service, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await ended(client, "completed")
    await service.records.directory.flush()
    async with service.records.database.transaction() as connection:
        await connection.exec_driver_sql("UPDATE sessions SET version = 1, status = 'active', updated_at = 1")
    monkeypatch.setattr(retention_module, "SETTLED_MS", -1)
    await service.lifecycle.retention.run()
    await service.records.directory.flush()
    (found,) = (await client.http.get("/v1/sessions")).json()["sessions"]
    assert (found["id"], found["status"], found["version"]) == (session, "completed", 2)


async def test_a_listing_that_a_death_left_without_its_log_goes_at_its_time(service: Service, client: Client) -> None:
    session = await ended(client, "active")
    await service.sessions.delete(SessionId(session))
    await later(service, 6.9).run()
    assert await listed(client) == {session}
    assert (await later(service, 7.1).run())["session_listing"] == 1
    assert await listed(client) == set()


async def test_a_reader_that_holds_the_journal_s_log_fails_the_run_and_the_next_one_mends_it(
    service: Service, settings: Settings, client: Client
) -> None:
    await ended(client, "active")
    reader = sqlite3.connect(settings.data_dir / "sessions.db")
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM heads").fetchone()
    job = later(service, 8)
    with pytest.raises(Unavailable):
        await job.run()
    assert "retention_failures_total 1.0" in service.telemetry.page().decode()
    assert await listed(client) == set()
    reader.close()
    await job.run()
    assert files_that_hold(settings.data_dir, *canaries("active")) == {}


async def test_many_sessions_go_in_bounded_steps_between_which_others_are_served(
    settings: Settings, left: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    remove = Sessions.remove

    async def counted(self: Sessions, *some: SessionId) -> None:
        steps.append(len(some))
        await remove(self, *some)

    monkeypatch.setattr(Sessions, "remove", counted)
    small = settings.model_copy(update={"retention": type(settings.retention)(batch_max=1)})
    async with Service.opened(small) as service:
        removed = await later(service, 200).run()
        assert removed["session_active"] + removed["session_archived"] == 2
        assert steps == [1, 1]


@pytest.mark.parametrize("is_guarded", [True, False], ids=["as it is", "planted: any clock is believed"])
async def test_a_clock_months_ahead_takes_nobody_a_session_unless_somebody_says_that_it_is_right(
    service: Service, client: Client, monkeypatch: pytest.MonkeyPatch, is_guarded: bool
) -> None:
    session = await ended(client, "active")
    await service.lifecycle.retention.run()
    judged, over = asyncio.Event(), asyncio.Event()
    believed, ran = ClockTrust.is_believed, ClockTrust.ran

    async def judge(trust: ClockTrust) -> bool:
        answer = await believed(trust) if is_guarded else True
        judged.set()
        return answer

    async def finish(trust: ClockTrust) -> None:
        await ran(trust)
        over.set()

    monkeypatch.setattr(ClockTrust, "is_believed", judge)
    monkeypatch.setattr(ClockTrust, "ran", finish)
    job = later(service, days=95)
    following = asyncio.create_task(job.follow())
    async with asyncio.timeout(30):
        await judged.wait()
        if is_guarded:
            assert (await client.http.get(f"/v1/sessions/{session}")).status_code == 200
            job.ask()
        await over.wait()
        assert (await client.http.get(f"/v1/sessions/{session}")).status_code == 404
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
