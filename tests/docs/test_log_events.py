"""The table of log events is read from the code; what it reads, and what it would miss."""

from __future__ import annotations

import pytest

from docs.generate import events


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('_log.info("it began", port=1)', ("it began", "info", ("port",), "m")),
        ('_logger.exception("it broke")', ("it broke", "error", (), "m")),
        ('_logger.info("a fault", extra={"code": 1})', ("a fault", "info", ("code",), "m")),
    ],
)
def test_a_call_that_logs_is_read(line: str, expected: tuple[object, ...]) -> None:
    assert [tuple(event) for event in events.logged_in(line, "m")] == [expected]


@pytest.mark.parametrize("line", ['print("x")', 'other.info("x")', "_log.bind(x=1)"])
def test_what_logs_nothing_is_not(line: str) -> None:
    assert list(events.logged_in(line, "m")) == []


def test_every_fault_of_a_socket_is_found_by_the_handbook_s_grep() -> None:
    about_sockets = [event for event in events.logged() if event.words.startswith("websocket")]
    assert len(about_sockets) >= 3
    assert [event for event in about_sockets if "error" not in event.words] == []


def test_no_event_names_a_secret_among_its_fields() -> None:
    secret = {"token", "access_token", "refresh_token", "password", "authorization", "email", "state", "ops", "value"}
    assert [event for event in events.logged() if secret & set(event.fields)] == []
