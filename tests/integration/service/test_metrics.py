"""A real service, made to do one of everything: each metric of the handbook moves by as much as it should."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
import structlog
import websockets
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from syncbridge.app import Service
from syncbridge.config import Settings
from syncbridge.core.messages import SUBPROTOCOL
from syncbridge.serving import places_of
from syncbridge.telemetry import METRICS, PrometheusTelemetry
from tests.integration.service.conftest import DEADLINE_S, PASSWORD, Client

Page = dict[tuple[str, ...], float]


async def read(client: Client) -> Page:
    """(sample, label values...) -> value, as a scrape reads it."""
    return samples((await client.http.get("/metrics")).text)


def samples(text: str) -> Page:
    """The same of a page."""
    families = text_string_to_metric_families(text)
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


async def once(client: Client, holds: Callable[[Page], bool]) -> Page:
    """The page, once it says so: what is read from time to time is there a second later."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds(page := await read(client)):  # noqa: ASYNC110 - a scrape is all there is
            await asyncio.sleep(0.05)
        return page


def quantile(page: Page, name: str, q: float) -> float:
    """`histogram_quantile(q, NAME_bucket)` as Prometheus reckons it: linear within the bucket."""
    buckets = sorted((float(key[1]), value) for key, value in page.items() if key[0] == f"{name}_bucket")
    rank, below, start = q * buckets[-1][1], 0.0, 0.0
    for bound, count in buckets:
        if count >= rank:
            return start if bound == float("inf") else start + (bound - start) * (rank - below) / (count - below)
        below, start = count, bound
    raise AssertionError("no bucket is +Inf")


async def one_of_everything(client: Client) -> None:
    """Joins, pushes, a merge, a refusal, an offline edit, handoffs, a socket refused and one closed for a fault."""
    session = await client.make_session({"playhead": {"position": 1, "rate": 1, "at": 0}})
    phone, tv = await client.device("phone", session), await client.device("tv", session)
    await phone.push(session, 1, "/a", 1)
    await phone.hear("ack")
    await tv.push(session, 1, "/a", 2)  # of the same base: the two meet
    met = await tv.hear("ack")
    assert met["conflicts"]
    await tv.push(session, 3, "/b", 1, at=1_700_000_000_000)  # made long ago
    await tv.hear("ack")
    await tv.push(session, 4, "/no/such/place", 1)
    assert (await tv.hear("reject"))["code"] == "bad_patch"
    await tv.say(type="handoff.take", session=session)
    done = await tv.hear("handoff.done")
    await tv.say(type="handoff.confirm", session=session, handoff=done["handoff"])
    await tv.say(type="handoff.offer", session=session, to="phone")
    offer = (await phone.hear("handoff.prepare"))["handoff"]
    await phone.say(type="handoff.decline", session=session, handoff=offer)
    await tv.hear("handoff.failed")
    await phone.say(type="leave", session=session)
    await phone.hear("left")
    await phone.say(type="join", session=session, position={"epoch": "x", "version": 1})
    await phone.hear("joined")
    stranger = await client.connect()
    await stranger.say(type="hello", token="none", device={"id": "x", "name": "x"})
    await stranger.hear("error")
    with pytest.raises(websockets.InvalidStatus):
        await websockets.connect(
            client.base.replace("http", "ws", 1) + "/v1/ws",
            subprotocols=[websockets.Subprotocol(SUBPROTOCOL)],
            origin=websockets.Origin("https://evil.example"),
        )
    await client.http.get("/v1/nothing")
    undone = await client.http.post(f"/v1/sessions/{session}/conflicts/{met['version']}.0/undo")
    assert undone.status_code == 200, undone.text


MOVED: dict[tuple[str, ...], float] = {
    ("websocket_connection_errors_total", "token_invalid"): 1,
    ("websocket_connection_errors_total", "origin_forbidden"): 1,
    ("websocket_connections_total",): 3,
    ("cross_device_handoffs_total", "done"): 1,
    ("cross_device_handoffs_total", "declined"): 1,
    ("handoff_latency_seconds_count", "take"): 1,
    ("handoff_confirm_seconds_count", "take"): 1,
    ("state_sync_duration_seconds_count",): 2,  # the first push of each device
    ("state_delta_duration_seconds_count",): 1,
    ("commits_total",): 7,
    ("commit_entries_sum",): 7,
    ("offline_syncs_total", "kept"): 1,
    ("rejects_total", "bad_patch"): 1,
    ("conflicts_total", "last"): 1,
    ("conflicts_undone_total", "last"): 1,
    ("resumes_total", "new"): 2,
    ("resumes_total", "epoch"): 1,
}
"""What `one_of_everything` moves, and by how much."""


def amiss(before: Page, after: Page) -> list[str]:
    """What moved otherwise than it should."""
    grown = {key: after.get(key, 0) - before.get(key, 0) for key in MOVED}
    found = [
        f"{' '.join(key)} grew by {grown[key]}, not {wanted}" for key, wanted in MOVED.items() if grown[key] != wanted
    ]
    if after.get(("session_continuity_total", "lost"), 0) < 1:  # the join that knew another log
        found.append("no continuity was lost")
    if after.get(("commit_duration_seconds_count",), 0) < 5:
        found.append("the commits' batches were not timed")
    return found


async def test_each_metric_of_the_handbook_moves_by_as_much_as_was_done(ann: Client) -> None:
    before = await read(ann)
    await one_of_everything(ann)
    after = await once(ann, lambda page: page["websocket_connection_errors_total", "origin_forbidden"] > 0)
    assert amiss(before, after) == []

    def grew(*key: str) -> float:
        return after.get(key, 0) - before.get(key, 0)

    assert grew("http_requests_total", "GET", "unmatched", "404") == 1
    assert grew("http_request_duration_seconds_count", "POST", "/v1/sessions") == 1
    assert after["sessions_active_total",] == 1
    assert after["offline_sync_success_rate",] == 1
    assert 0 < after["session_continuity_rate",] < 1


async def test_each_feed_that_is_cut_off_is_seen(
    ann: Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[tuple[str, float, str]] = []
    measured = service.telemetry.measured

    def listen(name: str, value: float, label: str = "") -> None:
        figures.append((name, value, label))
        measured(name, value, label)

    monkeypatch.setattr(service.telemetry, "measured", listen)
    await one_of_everything(ann)
    await once(ann, lambda page: page["websocket_connection_errors_total", "origin_forbidden"] > 0)

    def without(cut: str) -> list[str]:
        telemetry = PrometheusTelemetry(service.clock)
        before = samples(telemetry.page().decode())
        for name, value, label in figures:
            if name != cut:
                telemetry.measured(name, value, label)
        return amiss(before, samples(telemetry.page().decode()))

    names = {key[0] for key in MOVED} | {"session_continuity_total", "commit_duration_seconds_count"}
    feeding = {
        feed.figure
        for metric in METRICS
        if any(name.startswith(metric.name) for name in names)
        for feed in metric.feeds
    }
    cut_off = sorted(feeding & {name for name, _, _ in figures})
    assert without("") == []
    assert len(cut_off) >= 14
    assert [figure for figure in cut_off if not without(figure)] == []


async def test_what_the_rest_of_the_service_does_moves_its_metrics(ann: Client, service: Service) -> None:
    before = await read(ann)
    made = {"type": "custom", "state": {"n": 0}}
    for _ in range(2):
        assert (await ann.http.post("/v1/sessions", json=made, headers={"Idempotency-Key": "one"})).status_code == 201
    assert (await ann.http.get("/v1/me/export")).status_code == 200
    assert await service.lifecycle.retention.run() == {}
    assert (await ann.http.request("DELETE", "/v1/me", json={"password": PASSWORD})).status_code < 300
    after = await once(ann, lambda page: page["erasures_total", "finished"] > 0)

    def grew(*key: str) -> float:
        return after.get(key, 0) - before.get(key, 0)

    assert grew("idempotency_replays_total") == 1
    assert grew("exports_total", "whole") == 1
    assert grew("exports_total", "cut") == 0
    assert grew("retention_run_seconds_count") >= 1
    assert after["retention_last_run_timestamp_seconds",] > 1_700_000_000
    assert grew("retention_failures_total") == 0
    assert grew("erasures_total", "finished") == 1
    assert after["signing_keys", "current"] == 1
    assert after["signing_key_age_seconds",] >= 0
    assert after["tls_certificate_expiry_timestamp_seconds",] == 0


async def test_what_is_read_from_time_to_time_is_there(ann: Client) -> None:
    session = await ann.make_session()
    await ann.device("phone", session)
    page = await once(ann, lambda page: page["websocket_connections_open",] == 1 and page["incidents_total",] >= 1)
    assert page["store_group_duration_seconds_count",] >= 1
    assert page["store_sessions_held",] == 1
    assert page["store_bytes_held",] > 0
    assert page["store_commits_waiting",] == 0
    assert page["data_free_bytes",] > 0
    assert page["data_write_ahead_bytes",] > 0
    assert page["records_connections_max",] == 4
    assert 0 <= page["records_connections_in_use",] <= 4
    assert page["records_wait_seconds_count",] > 0
    assert page["records_faults_total", "pool_exhausted"] == 0
    assert (
        page["archived_states_total",] == page["archived_states_dropped_total",] == page["archive_pending_bytes",] == 0
    )
    assert page["passwords_pending",] == 0
    assert page["incidents_dropped_total",] == 0
    assert page["process_resident_memory_bytes",] > 0
    assert page["process_open_fds",] > 0
    assert [key for key in page if key[0] == "syncbridge_build_info"] != []
    assert [key for key in page if key[0] == "python_gc_collections_total"] != []
    assert not [key for key in page if key[0] == "unknown_figures_total"]


async def test_the_handbook_s_queries_have_an_answer(ann: Client) -> None:
    session = await ann.make_session()
    phone = await ann.device("phone", session)
    for version in range(1, 11):
        await phone.push(session, version, "/n", version)
        await phone.hear("ack")
    page = await read(ann)
    assert 0 < quantile(page, "state_sync_duration_seconds", 0.95) <= 1
    text = (await ann.http.get("/metrics")).text
    for name, kind in (("websocket_connection_errors_total", "counter"), ("sessions_active_total", "gauge")):
        assert f"# TYPE {name} {kind}\n" in text


async def test_both_formats_hold_the_same_and_a_stranger_chooses_no_more_than_that(ann: Client) -> None:
    for asked in ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text; version=nonsense"):
        answer = await ann.http.get("/metrics", headers={"Accept": asked})
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (
            200,
            "application/openmetrics-text",
        )
        names = {family.name for family in openmetrics_families(answer.text)}  # type: ignore[no-untyped-call]
        assert {"websocket_connection_errors", "sessions_active_total", "handoff_latency_seconds"} <= names


async def test_with_a_port_of_their_own_figures_leave_the_public_one(tmp_path: Path, stack: AsyncExitStack) -> None:
    settings = Settings(port=0, data_dir=tmp_path / "data", metrics_port=0)
    async with Service.running(settings) as service:
        public = f"http://127.0.0.1:{service.server.port}"
        own = places_of(settings, metrics_port=service.metrics_port)["metrics"]
        async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE_S) as http:
            assert (await http.get(f"{public}/metrics")).status_code == 404
            page = await http.get(own)
            assert "websocket_connections_total" in page.text
    async with httpx.AsyncClient(trust_env=False) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(own)


async def test_a_port_for_figures_that_is_taken_is_named(service: Service, tmp_path: Path) -> None:
    taken = Settings(port=0, data_dir=tmp_path / "other", metrics_port=service.server.port)
    with pytest.raises(OSError, match=f"metrics cannot listen on 127.0.0.1 port {service.server.port}"):
        async with Service.running(taken):
            raise AssertionError("it started")


async def test_a_refused_origin_is_told_so_that_it_can_be_allowed(ann: Client, service: Service) -> None:
    hostile = "https://evil\t.example" + "x" * 500
    for origin in ("https://app.example", "https://app.example", hostile, "null", "https://a", "https://b"):
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(ann.base.replace("http", "ws", 1) + "/v1/ws", origin=websockets.Origin(origin))
    with structlog.testing.capture_logs() as logs:
        service.gauges.read(service.server.door)
        service.gauges.read(service.server.door)
    (line,) = [line for line in logs if line.get("code") == "origin_forbidden"]
    assert (line["event"], line["count"]) == ("websocket connection error", 6)
    assert line["origins"][0] == "https://app.example"
    assert (len(line["origins"]), max(map(len, line["origins"]))) == (3, 100)
    assert all(origin.isprintable() for origin in line["origins"])
