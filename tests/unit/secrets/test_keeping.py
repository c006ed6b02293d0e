"""Secrets are looked after each by itself: one that fails is told once, tried on, and keeps no other waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from syncbridge.secrets import keeping
from syncbridge.secrets.faults import SecretFault
from syncbridge.secrets.keeping import Figures, Standing, keep_fresh

DEADLINE_S = 10.0


class Secret:
    """Fails as it is told to, and counts."""

    def __init__(self, name: str, *failures: Exception) -> None:
        self.standing = Standing(name)
        self.failures = list(failures)
        self.looks = 0

    async def keep(self) -> float:
        self.looks += 1
        if self.failures:
            raise self.failures.pop(0)
        self.standing.had(lasts_s=60)
        return 0.001


class Told:
    """A `Telemetry` that keeps what it is told."""

    def __init__(self) -> None:
        self.figures: dict[tuple[str, str], float] = {}

    def measured(self, name: str, value: float, label: str = "") -> None:
        self.figures[name, label] = value


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.001)


async def test_failure_is_told_once_and_tried_until_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "RETRY_S", 0.001)
    sealed = SecretFault("sealed", "Vault is sealed")
    ill, well = Secret("ill", sealed, sealed, sealed, ValueError("ours")), Secret("well")
    with capture_logs() as logs:
        task = asyncio.create_task(keep_fresh([ill, well]))
        await until(lambda: ill.looks > 6 and well.looks > 6)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [(line["event"], line.get("kind")) for line in logs] == [
        ("a secret cannot be had anew; what is held is used on", "sealed"),
        ("keeping a secret broke; it is tried on", None),
        ("a secret can be had again", None),
    ]
    assert ill.standing.failures == {"sealed": 3}
    assert ill.standing.fault is None


def test_figures_tell_age_and_rest_and_count_what_came_since() -> None:
    at = [100.0]
    one = Standing("database", lambda: at[0])
    figures, told = Figures([one]), Told()
    one.had(is_new=True, lasts_s=30)
    one.failed(SecretFault("timeout", "slow"))
    at[0] = 110
    figures.tell(told)
    assert told.figures == {
        ("secret_age_s", "database"): 10,
        ("secret_lasts_s", "database"): 20,
        ("secret_change", "database"): 1,
        ("secret_failure", "timeout"): 1,
    }
    told.figures.clear()
    at[0] = 200
    figures.tell(told)
    assert told.figures == {("secret_age_s", "database"): 100, ("secret_lasts_s", "database"): 0}


def test_secret_without_an_end_says_none() -> None:
    one, told = Standing("redis"), Told()
    Figures([one]).tell(told)
    one.had()
    Figures([one]).tell(told)
    assert [name for name, _ in told.figures] == ["secret_age_s"]
