"""The erasure of an account, everywhere, in steps that may be done again.

1. It is written that it is to be done (`records.erasures`). From here on it will be, whoever dies.
2. Nobody acts for the account any more: its tokens are refused for ever, its connections are closed.
3. Session by session: the log goes from the journal and its files, then its listing and what hangs on it.
4. The account goes, with everything that hangs on it; then whatever log a request under way left behind.
5. The records' write-ahead log is folded, so that no file holds what was erased.
6. Only then the receipt says that it is done.

A step counts what it removes in the transaction that removes it, so the receipt is right however often a process died.
"""

from __future__ import annotations

import asyncio

import structlog

from syncbridge.auth import Authority
from syncbridge.core.ids import AccountId, SessionId
from syncbridge.errors import AccountErased, NotFound, SyncBridgeError
from syncbridge.lifecycle.gone import Gone
from syncbridge.lifecycle.stored import StoredLogs
from syncbridge.ports import Clock, SessionService, Telemetry
from syncbridge.records import Erasure, Records

LOOK_EVERY_MS = 2_000
"""How soon an erasure that another process asked for begins here, and one that failed is tried again."""
SESSIONS_AT_ONCE = 20

_log = structlog.get_logger("syncbridge.lifecycle")


class Eraser:
    """Erases accounts, one after the other; between two sessions of one the loop and the store serve others."""

    def __init__(
        self,
        logs: StoredLogs,
        records: Records,
        authority: Authority,
        service: SessionService,
        gone: Gone,
        *,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._logs = logs
        self._records = records
        self._authority = authority
        self._service = service
        self._gone = gone
        self._clock = clock
        self._telemetry = telemetry
        self._asked = asyncio.Event()
        self._waiting: dict[AccountId, list[asyncio.Future[None]]] = {}
        self._failing: set[AccountId] = set()

    async def resume(self) -> None:
        """Accounts whose erasure another life of this service began are shut out again; `follow` goes on with it."""
        for account in await self._records.erasures.pending():
            await self._shut_out(account)

    async def request(self, account: AccountId) -> Erasure:
        """It will be erased, and nobody acts for it any more. Raises NotFound when there is no such account."""
        erasure = await self._records.erasures.begin(account, self._clock.now_ms())
        if erasure.finished_at is None:
            await self._shut_out(account)
            self._asked.set()
        return erasure

    async def wait(self, account: AccountId, wait_ms: int) -> Erasure:
        """The erasure when it is finished, or as far as it is after so long."""
        finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(account, [])
        waiting.append(finished)
        try:
            found = await self._get(account)
            if found.finished_at is None:
                await asyncio.wait([finished], timeout=wait_ms / 1000)
                found = await self._get(account)
            return found
        finally:
            waiting.remove(finished)
            if not waiting:
                self._waiting.pop(account, None)

    async def follow(self) -> None:
        """Everything asked for is erased, now and whenever it is asked for; until cancelled."""
        try:
            while True:
                self._asked.clear()
                await self.run()
                try:
                    async with asyncio.timeout(LOOK_EVERY_MS / 1000):
                        await self._asked.wait()
                except TimeoutError:
                    continue
        finally:
            for finished in [one for waiting in self._waiting.values() for one in waiting]:
                if not finished.done():
                    finished.set_result(None)  # it goes on at the next start; the answer says so

    async def run(self) -> None:
        """Every erasure that is asked for is finished, or its failure is told (once) and it stays asked for."""
        try:
            accounts = await self._records.erasures.pending()
        except SyncBridgeError:
            return  # whether any is asked for is not known; that the records are away they tell themselves
        for account in accounts:
            try:
                await self._erase(account)
            except SyncBridgeError as fault:
                self._tell_failure(account, fault.code)
            except Exception:  # noqa: BLE001 - whatever broke, the others are erased, and this one is tried again
                self._telemetry.measured("erasure", 1, "failed")
                _log.exception("erasure error", account=account)
            else:
                self._failing.discard(account)

    def _tell_failure(self, account: AccountId, code: str) -> None:
        """Each failure is counted; the first of an account is a line in the log."""
        self._telemetry.measured("erasure", 1, "failed")
        if account not in self._failing:
            self._failing.add(account)
            _log.warning("an erasure does not get through; it is tried on", account=account, code=code)

    async def _get(self, account: AccountId) -> Erasure:
        found = await self._records.erasures.get(account)
        if found is None:
            raise NotFound
        return found

    async def _shut_out(self, account: AccountId) -> None:
        # First with the reason that is theirs; once more, for one that came before its token was refused.
        self._service.disconnect(account, None, AccountErased.code)
        await self._authority.revoke_account(account, for_ever=True)
        self._authority.rosters.forget(account)
        self._service.disconnect(account, None, AccountErased.code)

    async def _erase(self, account: AccountId) -> None:
        await self._shut_out(account)
        erasures = self._records.erasures
        while sessions := await erasures.next_sessions(account, SESSIONS_AT_ONCE):
            for session in sessions:
                await self._delete(session)
                await erasures.erase_session(account, session)
        await self._delete_unlisted(account)
        await erasures.erase_account(account)
        # A request that was let in before all this may have made a log since; after the account none can be listed.
        await self._delete_unlisted(account)
        self._authority.rosters.forget(account)
        await self._records.database.fold()
        finished = await erasures.finish(account, self._clock.now_ms())
        self._telemetry.measured("erasure", 1, "finished")
        _log.info("an account is erased", account=account, receipt=finished.receipt, **finished.erased)
        for waiting in self._waiting.get(account, []):
            if not waiting.done():
                waiting.set_result(None)

    async def _delete_unlisted(self, account: AccountId) -> None:
        for session in [head.session async for head in self._logs.walk(account)]:
            await self._delete(session)

    async def _delete(self, session: SessionId) -> None:
        await self._logs.delete(session)
        self._gone.tell(session, "deleted")
