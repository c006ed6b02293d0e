"""The job that ends what has had its time, in bounded steps, and says what it did.

Order   logs first, then their listings: a process that dies in between leaves a listing without a log, which the next
        run finds by its own dates and ends. The other way round a log would stay that nobody can reach.
Also    a log without a listing (a process died between making the one and the other, or an older copy of the records
        was put back) is listed again, one of an account that was erased is erased again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import structlog

from syncbridge.core.ids import SessionId
from syncbridge.errors import NotFound, StateDamaged, SyncBridgeError, by_code
from syncbridge.lifecycle.gone import Gone
from syncbridge.lifecycle.stored import StoredLogs
from syncbridge.lifecycle.trust import ClockTrust
from syncbridge.limits import Retention
from syncbridge.ports import Clock, StoredHead, Telemetry
from syncbridge.records import Records, SessionRecord

SETTLED_MS = 60_000
"""A log this young may be about to get its listing."""
COMPARED_AT_ONCE = 200

_log = structlog.get_logger("syncbridge.lifecycle")


class RetentionJob:
    """Removes what is past its time. One run at a time; between two steps of it the loop and the store serve others.

    Watched   `retention_removed_total` by kind, `retention_run_seconds`, `retention_last_run_timestamp_seconds`,
              `retention_failures_total`, and one line in the log a run that removed something.
    """

    def __init__(
        self,
        logs: StoredLogs,
        records: Records,
        gone: Gone,
        *,
        clock: Clock,
        telemetry: Telemetry,
        rules: Retention,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rules = rules
        self._trust = ClockTrust(records.moments, rules, clock=clock, telemetry=telemetry, monotonic_s=monotonic_s)
        self._logs = logs
        self._records = records
        self._gone = gone
        self._clock = clock
        self._telemetry = telemetry
        self._running = asyncio.Lock()
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """A run begins soon, whatever the hour, and whatever the clock."""
        self._asked.set()

    async def follow(self) -> None:
        """A run now, one each `run_every_ms`, and one whenever it is asked for; until cancelled.

        One that nobody asked for removes nothing while the clock is in doubt (`trust`).
        """
        while True:
            is_asked = self._asked.is_set()
            self._asked.clear()
            try:
                if is_asked or await self._trust.is_believed():
                    await self.run()
            except SyncBridgeError as fault:
                _log.warning("retention did not finish; what is left goes with the next run", code=fault.code)
            except Exception:  # noqa: BLE001 - whatever broke, the job runs again at its next hour
                self._telemetry.measured("retention_failed", 1)
                _log.exception("retention error")
            try:
                async with asyncio.timeout(self.rules.run_every_ms / 1000):
                    await self._asked.wait()
            except TimeoutError:
                continue

    async def run(self) -> dict[str, int]:
        """Everything past its time is gone, from the files too; how many of each kind. Raises Unavailable."""
        async with self._running:
            begin = time.perf_counter()
            removed: Counter[str] = Counter()
            try:
                await self._run(removed)
            except SyncBridgeError:
                self._telemetry.measured("retention_failed", 1)
                raise
            finally:
                for kind, count in removed.items():
                    self._telemetry.measured("retention_removed", count, kind)
                if removed:
                    _log.info("what was past its time is gone", **removed)
            self._telemetry.measured("retention_run_ms", (time.perf_counter() - begin) * 1000)
            self._telemetry.measured("retention_ran_at", self._clock.now_ms() / 1000)
            await self._trust.ran()
            return dict(removed)

    async def _run(self, removed: Counter[str]) -> None:
        fault = await self._sweep(removed)
        await self._compare(removed)
        await self._end_stale_listings(removed)
        for kind in self._records.expiry.KINDS:
            while True:
                count = await self._records.expiry.remove(kind, self._clock.now_ms(), self.rules, self.rules.batch_max)
                if count:
                    removed[kind] += count
                if count < self.rules.batch_max:
                    break
        await self._records.database.fold()
        if fault is not None:
            raise fault

    async def _sweep(self, removed: Counter[str]) -> SyncBridgeError | None:
        """Logs past their time and their listings are gone; why not everywhere, if so."""
        while True:
            swept = await self._logs.sweep(self._clock.now_ms(), self.rules.batch_max)
            for session, status in swept.sessions:
                removed[f"session_{status}"] += 1
                self._gone.tell(session, "expired")
            if swept.sessions:
                await self._records.sessions.remove(*(session for session, _ in swept.sessions))
            if swept.fault is not None:
                return by_code()[swept.fault.code](swept.fault.detail)
            if not swept.has_more:
                return None

    # -- logs and listings that do not know each other ----------------------------------------------------------

    async def _compare(self, removed: Counter[str]) -> None:
        """Every settled log is listed, as it stands; those of erased accounts are erased."""
        heads: list[StoredHead] = []
        settled_ms = self._clock.now_ms() - SETTLED_MS
        async for head in self._logs.walk():
            if head.at <= settled_ms:
                heads.append(head)
            if len(heads) == COMPARED_AT_ONCE:
                await self._compare_some(heads, removed)
                heads = []
        await self._compare_some(heads, removed)

    async def _compare_some(self, heads: list[StoredHead], removed: Counter[str]) -> None:
        if not heads:
            return
        listed = await self._records.sessions.versions([head.session for head in heads])
        unlisted = [head for head in heads if head.session not in listed]
        erased = await self._records.erasures.among([head.account for head in unlisted]) if unlisted else set()
        for head in heads:
            if head.session not in listed and head.account in erased:
                await self._logs.delete(head.session)
                self._gone.tell(head.session, "deleted")
                removed["session_erased"] += 1
            elif listed.get(head.session, 0) < head.version:
                await self._list(head, is_new=head.session not in listed)

    async def _list(self, head: StoredHead, *, is_new: bool) -> None:
        """The listing shows the session as its log says."""
        try:
            found = await self._logs.head(head.session)
        except (NotFound, StateDamaged):
            return
        if not is_new:
            self._records.directory.note(
                head.session,
                status=found.status,
                version=found.version,
                updated_at=found.updated_at,
                active=found.active,
            )
            return
        if await self._records.accounts.get(head.account) is None:
            _log.warning("a log of nobody's is kept until its time", session=head.session, account=head.account)
            return
        await self._records.sessions.add(
            SessionRecord(
                id=head.session,
                account=head.account,
                type=found.type,
                title=found.title,
                settings={},
                created_at=found.created_at,
                status=found.status,
                version=found.version,
                active=found.active,
                updated_at=found.updated_at,
            )
        )
        _log.warning("a session that was not listed is listed again", session=head.session, account=head.account)

    async def _end_stale_listings(self, removed: Counter[str]) -> None:
        """Listings past their time whose log is gone are gone too."""
        stale = await self._records.expiry.stale_sessions(self._clock.now_ms(), self.rules, COMPARED_AT_ONCE)
        for session in stale:
            if await self._is_gone(session):
                await self._records.sessions.remove(session)
                self._gone.tell(session, "expired")
                removed["session_listing"] += 1

    async def _is_gone(self, session: SessionId) -> bool:
        try:
            await self._logs.head(session)
        except NotFound:
            return True
        except StateDamaged:
            return False
        return False
