"""The tasks that keep secrets fresh while a service runs, and what is known of each."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog

from syncbridge.errors import Internal
from syncbridge.ports import Credentials, Telemetry
from syncbridge.secrets.faults import SecretFault

RETRY_S: Final = 2.0
"""After a failure; a question costs Vault next to nothing, and a lease may be about to end."""
FIGURES_EVERY_S: Final = 1.0
_log = structlog.get_logger("syncbridge.secrets")


class Standing:
    """What is known of one secret: when it was last had from its keeper, when it ends, what went wrong.

    Told   a failure in the log once, until it works again or fails otherwise; never what was read.
    """

    def __init__(self, name: str, now_s: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.had_at_s: float | None = None
        self.ends_at_s: float | None = None
        self.fault: SecretFault | None = None
        self.failures: Counter[str] = Counter()
        self.changes = 0
        self._now_s = now_s

    def had(self, *, is_new: bool = False, lasts_s: float | None = None) -> None:
        """The keeper answered: it is as held, or ``is_new``; it lasts so long (None: no end is known)."""
        self.had_at_s = self._now_s()
        self.ends_at_s = None if lasts_s is None else self.had_at_s + lasts_s
        self.changes += is_new
        if self.fault is not None:
            _log.info("a secret can be had again", secret=self.name)
        self.fault = None

    def failed(self, fault: SecretFault) -> None:
        """It could not be had; what is held goes on."""
        self.failures[fault.kind] += 1
        if self.fault is None or (self.fault.kind, str(self.fault)) != (fault.kind, str(fault)):
            _log.warning(
                "a secret cannot be had anew; what is held is used on",
                secret=self.name,
                kind=fault.kind,
                reason=str(fault),
                lasts_s=None if self.lasts_s is None else round(self.lasts_s),
            )
        self.fault = fault

    @property
    def age_s(self) -> float | None:
        """How long ago its keeper was last heard of it."""
        return None if self.had_at_s is None else self._now_s() - self.had_at_s

    @property
    def lasts_s(self) -> float | None:
        """How long it still lasts; 0 when it has ended, None where no end is known."""
        return None if self.ends_at_s is None else max(0.0, self.ends_at_s - self._now_s())


class Kept(Protocol):
    """A secret that somebody must look after."""

    standing: Standing

    async def keep(self) -> float:
        """It was looked after; in how many seconds to do that again. Raises SecretFault."""
        ...


class Watched:
    """A `ports.CredentialSource` whose owner says when they change."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._told: list[Callable[[], None]] = []

    def current(self) -> Credentials:
        """What is in force now; asks nobody."""
        return self._credentials

    def watch(self, told: Callable[[], None]) -> None:
        """``told`` is called in the loop's thread after each change."""
        self._told.append(told)

    def change(self, credentials: Credentials) -> bool:
        """These are in force, and who watches was told; whether they are others than before."""
        is_new = credentials != self._credentials
        self._credentials = credentials
        if is_new:
            for told in self._told:
                told()
        return is_new


async def keep_fresh(kept: Sequence[Kept]) -> None:
    """Each is looked after when it is due, until this is cancelled. One that fails keeps no other from it."""
    async with asyncio.TaskGroup() as group:
        for one in kept:
            group.create_task(_keep(one))


async def _keep(one: Kept) -> None:
    while True:
        try:
            due_s = await one.keep()
        except SecretFault as fault:
            one.standing.failed(fault)
            due_s = RETRY_S
        except Exception:  # noqa: BLE001 - whatever breaks, it must go on: a lease would end
            _log.exception("keeping a secret broke; it is tried on", secret=one.standing.name, code=Internal.code)
            due_s = RETRY_S
        await asyncio.sleep(due_s)


class Figures:
    """Tells a `Telemetry` how the secrets are; counts are told as what came since."""

    def __init__(self, standings: Sequence[Standing]) -> None:
        self._standings = standings
        self._told: Counter[tuple[str, str]] = Counter()

    def tell(self, telemetry: Telemetry) -> None:
        """Every figure is as it is now."""
        failures: Counter[str] = Counter()
        for one in self._standings:
            if one.age_s is not None:
                telemetry.measured("secret_age_s", one.age_s, one.name)
            if one.lasts_s is not None:
                telemetry.measured("secret_lasts_s", one.lasts_s, one.name)
            self._tell(telemetry, "secret_change", one.name, one.changes)
            failures.update(one.failures)
        for kind, count in failures.items():
            self._tell(telemetry, "secret_failure", kind, count)

    def _tell(self, telemetry: Telemetry, figure: str, label: str, total: int) -> None:
        count = total - self._told[figure, label]
        if count:
            telemetry.measured(figure, count, label)
            self._told[figure, label] = total
