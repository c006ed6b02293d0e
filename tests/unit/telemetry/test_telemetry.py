"""Metrics from one table, and logs that operators and attackers meet."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from syncbridge.telemetry import METRICS, PrometheusTelemetry, configure_logging, table
from syncbridge.telemetry.collector import LABELS_MAX

HANDBOOK = [
    "websocket_connection_errors_total",
    "state_sync_duration_seconds",
    "handoff_latency_seconds",
    "cross_device_handoffs_total",
    "sessions_active_total",
    "websocket_connections_total",
    "state_delta_duration_seconds",
    "http_requests_total",
    "http_request_duration_seconds",
    "offline_sync_success_rate",
]


class Fixed:
    """A clock at 1,000 s."""

    def now_ms(self) -> int:
        return 1_000_000


@pytest.fixture
def telemetry() -> PrometheusTelemetry:
    """Fresh metrics."""
    return PrometheusTelemetry(Fixed())


def read(telemetry: PrometheusTelemetry) -> dict[tuple[str, ...], float]:
    """(sample, label values...) -> value, as a scrape reads it."""
    families = text_string_to_metric_families(telemetry.page().decode())
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def test_page_has_every_metric_of_the_handbook_from_the_start(telemetry: PrometheusTelemetry) -> None:
    page = telemetry.page().decode()
    assert [name for name in HANDBOOK if not re.search(rf"^# TYPE {name} ", page, re.MULTILINE)] == []


@pytest.mark.parametrize(
    ("figure", "value", "label", "sample", "expected"),
    [
        ("connection_error", 1, "too_slow", ("websocket_connection_errors_total", "too_slow"), 1),
        ("sync_ms", 5, "", ("state_sync_duration_seconds_sum",), 0.005),
        ("commit_ms", 7, "", ("commit_duration_seconds_sum",), 0.007),
        ("handoff_ms", 5, "take", ("handoff_latency_seconds_sum", "take"), 0.005),
        ("handoff_done", 999_990, "offer", ("handoff_latency_seconds_sum", "offer"), 0.01),
        ("handoff_done", 999_990, "offer", ("cross_device_handoffs_total", "done"), 1),
        ("handoff_done", 1_000_500, "offer", ("handoff_latency_seconds_sum", "offer"), 0),
        ("handoff_failed", 1, "declined", ("cross_device_handoffs_total", "declined"), 1),
        ("handoff_confirmed", 999_990, "take", ("handoff_confirm_seconds_sum", "take"), 0.01),
        ("sessions_live", 3, "", ("sessions_active_total",), 3),
        ("connection_opened", 1, "", ("websocket_connections_total",), 1),
        ("connections_open", 2, "", ("websocket_connections_open",), 2),
        ("delta_ms", 1, "", ("state_delta_duration_seconds_sum",), 0.001),
        ("commit_entries", 4, "", ("commits_total",), 4),
        ("commit_entries", 4, "", ("commit_entries_sum",), 4),
        ("resume", 1, "resumed", ("resumes_total", "resumed"), 1),
        ("reject", 1, "stale_owner", ("rejects_total", "stale_owner"), 1),
        ("conflict", 1, "playhead", ("conflicts_total", "playhead"), 1),
        ("retry", 1, "", ("commit_retries_total",), 1),
        ("loop_lag_ms", 2, "", ("event_loop_lag_seconds_sum",), 0.002),
        ("queue_bytes", 9, "", ("outlet_queued_bytes",), 9),
        ("never heard of", 1, "", ("unknown_figures_total", "never heard of"), 1),
    ],
)
def test_figure_moves_its_metric(
    telemetry: PrometheusTelemetry, figure: str, value: float, label: str, sample: tuple[str, ...], expected: float
) -> None:
    telemetry.measured(figure, value, label)
    assert read(telemetry)[sample] == pytest.approx(expected)


def test_rates_are_reckoned_when_read(telemetry: PrometheusTelemetry) -> None:
    assert read(telemetry)["session_continuity_rate",] == 1
    for outcome in ("kept", "kept", "kept", "lost"):
        telemetry.measured("continuity", 1, outcome)
        telemetry.measured("offline_sync", 1, outcome)
    assert read(telemetry)["session_continuity_rate",] == 0.75
    assert read(telemetry)["offline_sync_success_rate",] == 0.75


def test_labels_that_a_peer_could_choose_do_not_grow_the_page(telemetry: PrometheusTelemetry) -> None:
    for number in range(10 * LABELS_MAX):
        telemetry.measured("reject", 1, f"code{number}")
    samples = [key for key in read(telemetry) if key[0] == "rejects_total"]
    assert len(samples) == LABELS_MAX + 1
    assert ("rejects_total", "other") in samples


def test_docs_table_lists_every_metric_once() -> None:
    lines = table().splitlines()[2:]
    assert [line.split("`")[1] for line in lines] == [metric.name for metric in METRICS]


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where logs go; the process's own logging is put back after the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def test_lines_elsewhere_than_in_a_terminal_are_json_with_secrets_hidden(stream: io.StringIO) -> None:
    configure_logging("info", "auto", stream)
    structlog.get_logger("syncbridge.net").error("websocket handshake error", code="bad_host", token="canary")
    logging.getLogger("uvicorn").warning("hello %s", "there")
    structlog.get_logger("syncbridge.net").debug("not said")
    ours, theirs = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (ours["event"], ours["level"], ours["code"], ours["token"]) == (
        "websocket handshake error",
        "error",
        "bad_host",
        "***",
    )
    assert (theirs["event"], theirs["logger"]) == ("hello there", "uvicorn")


@pytest.mark.parametrize("form", ["human", "json"])
def test_grep_of_the_handbook_finds_socket_errors_in_both_forms(stream: io.StringIO, form: str) -> None:
    configure_logging("info", "json" if form == "json" else "human", stream)
    structlog.get_logger("syncbridge.net").warning("websocket connection error", code="too_slow")
    assert re.search("websocket.*error", stream.getvalue())


@pytest.mark.parametrize("form", ["human", "json"])
def test_peer_s_control_characters_forge_no_line(stream: io.StringIO, form: str) -> None:
    configure_logging("info", "json" if form == "json" else "human", stream)
    forged = "a\r\n2026 [error] forged\x1b[31m\u2028"
    structlog.get_logger("x").info("said", name=forged)
    logging.getLogger("library").warning("a peer said %s", forged)
    text = stream.getvalue()
    assert text.count("\n") == 2
    assert not set("\r\x1b\u2028") & set(text)


def test_traceback_is_kept(stream: io.StringIO) -> None:
    configure_logging("info", "json", stream)
    try:
        raise ValueError("boom")
    except ValueError:
        structlog.get_logger("x").exception("http request error")
    assert "ValueError: boom" in json.loads(stream.getvalue())["exception"]
