"""The session log in Redis, shared by any number of nodes: one script an atomic step, one trip a commit.

What a node knows of a log stands in Redis alone; nothing is cached here but what an index was told. So any node may
commit next, and one that was frozen for an hour does no harm when it goes on: the script compares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import structlog

from syncbridge.adapters.cluster.keys import session_keys
from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.script import load
from syncbridge.adapters.cluster.log.commits import Committer, Facts
from syncbridge.adapters.cluster.log.index import Indexes
from syncbridge.adapters.cluster.log.lines import Lines
from syncbridge.adapters.cluster.log.reading import LogReader
from syncbridge.adapters.cluster.log.recovery import GRACE_MS, Recovery
from syncbridge.adapters.cluster.log.steps import Failed, Missing, Steps, drive, fault_of, nobody, or_fault, ran, sound
from syncbridge.adapters.cluster.log.stored import pack_snapshot, snapshot_mark, text
from syncbridge.core.entry import Entry, Snapshot
from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.core.retention import HISTORY_ENTRIES_MAX, Kept, plan
from syncbridge.limits import Limits, Retention
from syncbridge.ports import (
    Archive,
    Clock,
    Forked,
    Held,
    NoArchive,
    Outcome,
    PutBack,
    StoredHead,
    StoredLog,
    StoreFault,
    Stretch,
    Submission,
    Swept,
)

TOMBSTONE_MS: Final = 7 * 86_400_000
"""How long a deletion is known: as long as a node or an archive could hold what was deleted."""

_delete = load("delete")
_keep = load("keep")
_sweep = load("sweep")
_trim = load("trim")

_log = structlog.get_logger(__name__)

T = TypeVar("T")


class RedisStore:
    """`StateStore` over a `RedisLink`.

    Durability  what the link's acknowledgement level says: `WasCommitted` means that a replica has it, or where that
                is `local`, that the primary does.
    Blocking    nothing blocks.
    Cost        a commit is one script call: O(what it appends), in the client and in Redis.
    """

    def __init__(
        self,
        link: RedisLink,
        clock: Clock,
        *,
        limits: Limits | None = None,
        retention: Retention | None = None,
        archive: Archive | None = None,
        facts: Facts | None = None,
        history_entries_max: int = HISTORY_ENTRIES_MAX,
        grace_ms: int = GRACE_MS,
    ) -> None:
        """With ``facts`` each commit also writes them, and by which versions the session grew, for a relay to tell."""
        self._link = link
        self._clock = clock
        self._limits = limits or Limits()
        self._retention = retention or Retention()
        self._archive = archive or NoArchive()
        self._history_entries_max = history_entries_max
        self._indexes = Indexes(link)
        self._recovery = Recovery(link, self._indexes, self._archive, clock, self._retention, grace_ms=grace_ms)
        self._reader = LogReader(link, self._recovery)
        self._calls = Lines()
        self.committer = Committer(
            link,
            self._indexes,
            self._reader,
            self._recovery,
            self._calls,
            self._retention,
            facts=facts,
            kept=self._kept_with_commit,
        )

    @property
    def is_shared(self) -> bool:
        """Other nodes write the same logs."""
        return True

    def is_healthy(self) -> bool:
        return self._link.is_healthy()

    def create(self, snapshot: Snapshot, first: Entry, body: bytes, done: Callable[[Outcome], None]) -> None:
        self.committer.create(snapshot, first, body, done)

    def submit(self, batch: Sequence[Submission], done: Callable[[Outcome], None]) -> None:
        self.committer.submit(batch, done)

    # -- reading ------------------------------------------------------------------------------------------------

    def load(self, session: SessionId, reach: int, done: Callable[[StoredLog | StoreFault], None]) -> None:
        self._read(session, lambda: self._reader.load(session, reach), done)

    def state_at(self, session: SessionId, version: int, done: Callable[[StoredLog | StoreFault], None]) -> None:
        self._read(session, lambda: self._reader.state_at(session, version), done)

    def entries(
        self, session: SessionId, after: int, count_max: int, done: Callable[[Stretch | StoreFault], None]
    ) -> None:
        self._read(session, lambda: self._reader.entries(session, after, count_max), done)

    def version_at(self, session: SessionId, at_ms: int, done: Callable[[int | StoreFault], None]) -> None:
        self._read(session, lambda: self._reader.version_at(session, at_ms), done)

    def _read(self, session: SessionId, ask: Callable[[], Steps[T]], done: Callable[[T | StoreFault], None]) -> None:
        self._calls.add(session, lambda: drive(self._reader.answer(session, ask), done))

    def waiting_offers(self, account: AccountId, device: DeviceId, done: Callable[[list[SessionId]], None]) -> None:
        """As the port says; none where Redis does not answer."""

        def tell(found: list[SessionId] | StoreFault) -> None:
            done([] if isinstance(found, StoreFault) else found)

        drive(or_fault(self._indexes.waiting(account, device, self._clock.now_ms())), tell)

    def walk(
        self,
        after: str,
        count_max: int,
        done: Callable[[list[StoredHead] | StoreFault], None],
        account: AccountId | None = None,
    ) -> None:
        drive(or_fault(self._indexes.walk(after, count_max, account)), done)

    # -- snapshots and recovery -----------------------------------------------------------------------------------

    def write_snapshot(self, snapshot: Snapshot) -> None:
        self._calls.add(snapshot.session, lambda: drive(fault_of(self._keep(snapshot)), nobody))

    def _kept_with_commit(self, snapshot: Snapshot) -> None:
        self._archive.keep(snapshot)
        drive(fault_of(self._prune(snapshot.session)), nobody)

    def _keep(self, snapshot: Snapshot) -> Steps[None]:
        keys = session_keys(snapshot.session)
        args = [snapshot.epoch.encode(), b"%d" % snapshot.version, pack_snapshot(snapshot), snapshot_mark(snapshot)]
        touched = [keys.head, keys.snap, keys.snaps]
        answer = yield ran(self._link, _keep, touched, args)
        if answer != 0:
            # Also where Redis did not answer: then the archive is what may be left.
            self._archive.keep(snapshot)
        if sound(answer):
            yield from self._prune(snapshot.session)

    def _prune(self, session: SessionId) -> Steps[None]:
        """What history lets go of is gone. Raises Failed, Damage."""
        try:
            outline = yield from self._reader.outline(session)
        except Missing:
            return
        kept = [Kept(version, at) for version, at in outline.marks]
        head, at = outline.version, outline.at
        base, dropped = plan(kept, head, at, self._limits, self._retention, self._history_entries_max)
        if dropped:
            keys = session_keys(session)
            args = [outline.epoch.encode(), b"%d" % base, *(b"%d" % version for version in dropped)]
            touched = [keys.head, keys.log, keys.snap, keys.snaps]
            sound((yield ran(self._link, _trim, touched, args)))

    def put_back(self, held: Held, done: Callable[[PutBack | Forked | StoreFault], None]) -> None:
        session = held.snapshot.session
        self._calls.alone(session, lambda: or_fault(self._recovery.put_back(held)), done)

    # -- the end ------------------------------------------------------------------------------------------------

    def delete(self, session: SessionId, done: Callable[[StoreFault | None], None]) -> None:
        self._calls.add(session, lambda: drive(fault_of(self._deleting(session)), done))

    def _deleting(self, session: SessionId) -> Steps[None]:
        keys = session_keys(session)
        touched = [keys.gone, keys.head, keys.set_aside[0], *_everything(session)]
        answer = yield ran(self._link, _delete, touched, [b"%d" % TOMBSTONE_MS])
        yield from self._forget(session, sound(answer))

    def _forget(self, session: SessionId, account: bytes, found_due: bytes = b"") -> Steps[None]:
        """The indexes and the archive know nothing of the session. Raises Failed, Damage."""
        self.committer.forget(session)
        yield from self._indexes.unlist(session, account, found_due)
        fault = yield lambda done: self._archive.forget(session, done)
        if fault is not None:
            raise Failed(fault)

    def sweep(self, now_ms: int, count_max: int, done: Callable[[Swept], None]) -> None:
        swept: list[tuple[SessionId, str]] = []

        def tell(result: bool | StoreFault) -> None:
            if isinstance(result, StoreFault):
                done(Swept(swept, fault=result))
            else:
                done(Swept(swept, has_more=result))

        drive(or_fault(self._sweeping(now_ms, count_max, swept)), tell)

    def _sweeping(self, now_ms: int, count_max: int, swept: list[tuple[SessionId, str]]) -> Steps[bool]:
        """`swept` names what was erased; whether there is more. Raises Failed, Damage."""
        found = yield from self._indexes.due(now_ms, count_max + 1)
        for place, (due, session) in enumerate(found):
            if len(swept) == count_max:
                return place < len(found)
            if session in self._calls:
                continue  # it is written just now
            keys = session_keys(session)
            rules = self._retention
            args = [b"%d" % number for number in (now_ms, TOMBSTONE_MS, rules.live_ms, rules.live_ms)]
            for status in ("completed", "archived"):
                args += [status.encode(), b"%d" % rules.session_ms(status)]
            touched = [keys.gone, keys.head, keys.damaged, *_everything(session)]
            answer = yield ran(self._link, _sweep, touched, args)
            match sound(answer):
                case [1, status, account]:
                    swept.append((session, text(status)))
                    yield from self._forget(session, account, due)
                case [2, later]:
                    yield self._indexes.look_later(session, min(int(later), self._recovery.first_look(now_ms)))
                case _:
                    yield from self._indexes.unlist(session, b"", due)
        return len(found) > count_max


def _everything(session: SessionId) -> list[bytes]:
    """What is erased with the session, beside the keys that the scripts name themselves."""
    keys = session_keys(session)
    return [keys.log, keys.snap, keys.snaps, keys.damaged, keys.who, *keys.set_aside]
