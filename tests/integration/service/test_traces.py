"""Traces to a real OTLP receiver: what a span says, whose trace it carries on, and what it never says."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from syncbridge.app import Service
from syncbridge.config import Settings
from syncbridge.telemetry.traces import TracesUnavailable
from tests.integration.service.conftest import PASSWORD, Client

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """Takes what is exported to it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200 if self.path == "/v1/traces" else 404)
                self.end_headers()

            def log_message(self, *_args: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def spans(self) -> list[tuple[Any, dict[str, Any]]]:
        """(span, attributes of its resource) of everything taken."""
        found = []
        for body in self.bodies:
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = {one.key: one.value.string_value for one in group.resource.attributes}
                found += [(span, resource) for scope in group.scope_spans for span in scope.spans]
        return found

    def named(self, name: str) -> list[Any]:
        return [span for span, _ in self.spans() if span.name == name]


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


async def live(settings: Settings, *, traceparent: str = "") -> None:
    """A service lived, and did one of each thing that is traced."""
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(Service.running(settings))
        client = Client(f"http://127.0.0.1:{service.server.port}", stack)
        stack.push_async_callback(client.http.aclose)
        await client.make_account("canary-mail@example.com")
        if traceparent:
            client.http.headers["traceparent"] = traceparent
        session = await client.make_session({"note": "canary-content"})
        await client.http.get("/health")
        await client.http.get(f"/v1/sessions/{session}/state?x=canary-query")
        await client.http.get("/v1/canary-path")
        tv = await client.device("tv", session)
        await tv.push(session, 1, "/note", "canary-content")
        await tv.hear("ack")
        await tv.say(type="handoff.take", session=session)
        await tv.hear("handoff.done")


def settings(tmp_path: Path, collector: Collector, **more: Any) -> Settings:
    keys = {"otel_endpoint": collector.url, "otel_sample_ratio": 1.0, **more}
    return Settings(port=0, data_dir=tmp_path / "data", **keys)


async def test_requests_commits_and_handoffs_are_spans_and_a_caller_s_trace_goes_on(
    tmp_path: Path, collector: Collector
) -> None:
    await live(settings(tmp_path, collector), traceparent=f"00-{TRACE}-{PARENT}-01")
    (made,) = collector.named("POST /v1/sessions")
    assert (made.trace_id.hex(), made.parent_span_id.hex()) == (TRACE, PARENT)
    attributes = {one.key: one.value for one in made.attributes}
    assert attributes["http.response.status_code"].int_value == 201
    assert attributes["http.route"].string_value == "/v1/sessions"
    assert attributes["syncbridge.request_id"].string_value
    (account,) = collector.named("POST /v1/accounts")
    assert (account.parent_span_id, account.trace_id.hex() != TRACE) == (b"", True)
    assert len(collector.named("GET /v1/sessions/{session}/state")) == 1
    assert len(collector.named("GET unmatched")) == 1
    assert len(collector.named("handoff")) == 1
    commits = collector.named("store.commit")
    assert len(commits) >= 2
    assert all(span.end_time_unix_nano > span.start_time_unix_nano for span in commits)
    assert not [span for span, _ in collector.spans() if "health" in span.name]
    _, resource = collector.spans()[0]
    assert resource["service.name"] == "syncbridge"
    assert resource["service.version"]


async def test_no_span_holds_what_is_a_person_s(tmp_path: Path, collector: Collector) -> None:
    await live(settings(tmp_path, collector))
    everything = b"".join(collector.bodies)
    assert len(everything) > 500
    assert [word for word in (b"canary", PASSWORD.encode(), b"eyJ") if word in everything] == []


@pytest.mark.parametrize(("ratio", "traceparent"), [(0.0, f"00-{TRACE}-{PARENT}-01"), (1.0, f"00-{TRACE}-{PARENT}-00")])
async def test_neither_ratio_0_nor_a_caller_who_does_not_want_it_is_recorded(
    tmp_path: Path, collector: Collector, ratio: float, traceparent: str
) -> None:
    await live(settings(tmp_path, collector, otel_sample_ratio=ratio), traceparent=traceparent)
    assert collector.named("POST /v1/sessions") == []


async def test_a_trace_header_that_is_none_costs_nothing(tmp_path: Path, collector: Collector) -> None:
    await live(settings(tmp_path, collector), traceparent="00-nonsense-z")
    (made,) = collector.named("POST /v1/sessions")
    assert made.parent_span_id == b""


async def test_a_collector_that_is_away_holds_nobody_up(tmp_path: Path, collector: Collector) -> None:
    collector.close()
    await live(settings(tmp_path, collector))


async def test_without_its_packages_it_says_which_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    asked = Settings(port=0, data_dir=tmp_path, otel_endpoint="http://127.0.0.1:4318")
    with pytest.raises(TracesUnavailable, match=r"pip install 'syncbridge\[otel\]'"):
        async with Service.running(asked):
            raise AssertionError("it started")


SERVES = """
import asyncio, sys, urllib.request
from pathlib import Path
from syncbridge.app import Service
from syncbridge.config import Settings

async def main():
    async with Service.running(Settings(port=0, data_dir=Path(sys.argv[1]))) as service:
        url = f"http://127.0.0.1:{service.server.port}/docs"
        answer = await asyncio.to_thread(urllib.request.urlopen, url)
        assert answer.status == 200

asyncio.run(main())
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))])
"""


@pytest.mark.parametrize("asked", ["", "http://127.0.0.1:9"])
def test_serving_without_otel_endpoint_loads_nothing_that_makes_traces(tmp_path: Path, asked: str) -> None:
    """Also where the framework's own variables ask for its telemetry, whose spans hold paths and queries."""
    told = subprocess.run(
        [sys.executable, "-c", SERVES, str(tmp_path)],
        env={**os.environ, "FASTAPI_OTEL_AUTO_CONFIGURE": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": asked},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert told.stdout.splitlines()[-1] == "[]"
