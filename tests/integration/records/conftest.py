"""Bounds that a busy machine does not meet, for tests that are about something else."""

import pytest

from syncbridge.records import engines


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a connection, a row or an answer gets it at last."""
    for bound in ("POSTGRES_WAIT_S", "ANSWER_WITHIN_S", "COMMAND_S"):
        monkeypatch.setattr(engines, bound, 60.0)
    for bound in ("LOCK_MS", "STATEMENT_MS"):
        monkeypatch.setattr(engines, bound, 60_000)
