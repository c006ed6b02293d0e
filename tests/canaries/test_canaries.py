"""No secret and no content of anybody in logs, figures and errors, whatever happens."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import structlog

from syncbridge.auth import Authority
from syncbridge.http import problems
from syncbridge.runtime.driver import ConnectionDriver
from tests.canaries.run import run


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Logging as it was before, after the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()


@pytest.mark.parametrize("form", ["human", "json"])
async def test_no_secret_is_seen_anywhere(
    tmp_path: Path, form: Literal["human", "json"], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = await run(tmp_path, form, monkeypatch)
    assert seen.leaks() == []
    assert len(seen.secrets) >= 12
    assert len(seen.errors) >= 15
    # The run went where secrets are: its log tells of requests, of refused connections and of the crash.
    assert "planted: the machine breaks" in seen.log
    assert "http request" in seen.log
    assert "websocket connection error" in seen.log


async def test_log_line_that_tells_a_token_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Authority.refresh

    async def refresh(self: Authority, refresh_token: str) -> Any:
        structlog.get_logger("syncbridge").debug("refreshing", used=refresh_token)
        return await real(self, refresh_token)

    monkeypatch.setattr(Authority, "refresh", refresh)
    assert (await run(tmp_path, "json", monkeypatch)).leaks() == ["first refresh token in the log"]


async def test_log_line_that_tells_content_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ConnectionDriver.on_text

    def on_text(self: ConnectionDriver, frame: bytes) -> None:
        logging.getLogger("syncbridge.runtime").debug("read %r", frame[:200])
        real(self, frame)

    monkeypatch.setattr(ConnectionDriver, "on_text", on_text)
    leaks = (await run(tmp_path, "human", monkeypatch)).leaks()
    assert "content in the log" in leaks


async def test_error_that_repeats_what_was_sent_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "_message", lambda finding: f"{finding['msg']}, got {finding['input']!r}")
    leaks = (await run(tmp_path, "json", monkeypatch)).leaks()
    assert "content in the errors" in leaks
