"""When a log is not there, or not as it was written: whether it was deleted, and from what it comes back.

In this order: what any node holds (same epoch, same versions: `put_back`), else the newest state in the archive, under
a new epoch, so that no device believes an old position. The archive has to wait, for the nodes that hold more need a
moment to notice; who asks meanwhile is told `unavailable`. The wait begins where the loss can have happened: when this
Redis first knew of the slot, when its primary changed, when the log was set aside.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Final

import structlog
from msgspec.structs import replace

from syncbridge.adapters.cluster.keys import born_key, session_keys, slot_of
from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.replies import Failure
from syncbridge.adapters.cluster.link.script import load
from syncbridge.adapters.cluster.log.index import Indexes
from syncbridge.adapters.cluster.log.steps import Failed, Steps, is_damage, raise_failure, ran, sound
from syncbridge.adapters.cluster.log.stored import (
    encode_entry,
    pack_kept,
    pack_snapshot,
    pack_waiting,
    seal_entry,
    snapshot_mark,
)
from syncbridge.core.entry import Snapshot
from syncbridge.core.epochs import rebuilt
from syncbridge.core.ids import SessionId
from syncbridge.limits import Retention
from syncbridge.ports import Archive, Clock, Forked, Held, PutBack, StoreFault

GRACE_MS: Final = 12_000
"""Nodes compare what they hold with the store every ten seconds, and at once when a primary changed."""
PUT_BACK_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of entries, in one step: beyond it the older ones stay lost, and the state that they led to does not."""

_missing = load("missing")
_outline = load("outline")
_put_back = load("put_back")
_set_aside = load("set_aside")

_log = structlog.get_logger(__name__)


class Recovery:
    """Brings logs back, or says why not."""

    def __init__(
        self,
        link: RedisLink,
        indexes: Indexes,
        archive: Archive,
        clock: Clock,
        retention: Retention,
        *,
        grace_ms: int = GRACE_MS,
        new_part: Callable[[], str] = lambda: secrets.token_hex(6),
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link = link
        self._indexes = indexes
        self._archive = archive
        self._clock = clock
        self._retention = retention
        self._grace_ms = grace_ms
        self._new_part = new_part
        self._now_s = now_s  # server time follows the wall clock, and what is waited for is no time of day
        self._changed_at_s: float | None = None  # when a primary changed, as this node saw it
        link.on_primary_changed.append(self._primary_changed)

    def _primary_changed(self) -> None:
        self._changed_at_s = self._now_s()

    def set_aside(self, session: SessionId, reason: str) -> Steps[None]:
        """The damaged log is out of the way, and kept for whoever looks at it. Raises Failed, Damage."""
        keys = session_keys(session)
        log = [keys.head, keys.log, keys.snap, keys.snaps]
        args = [b"%d" % self._clock.now_ms(), b"%d" % self._retention.live_ms]
        touched = [keys.damaged, *log, *keys.set_aside]
        moved = sound((yield ran(self._link, _set_aside, touched, args)))
        if moved:
            _log.error(
                "session_set_aside",
                session=session,
                reason=reason,
                action="what a node holds of it, or else the archive, takes its place; without either it is refused as"
                " state_damaged, and others go on",
            )

    def rebuild(self, session: SessionId) -> Steps[None]:
        """A log is there again, from the archive. Raises Failed where there is nothing to wait for, or not yet."""
        keys = session_keys(session)
        touched = [keys.gone, keys.damaged, born_key(slot_of(keys.head))]
        answer = sound((yield ran(self._link, _missing, touched, [])))
        is_gone, aside_left_ms, known_ms = answer
        if is_gone:
            raise Failed(StoreFault("not_found"))
        is_damaged = aside_left_ms > 0
        found = yield lambda done: self._archive.newest(session, done)
        if isinstance(found, StoreFault):
            raise Failed(StoreFault("unavailable", found.detail))
        if found is None:
            detail = "the log was set aside, and no archive has its state"
            raise Failed(StoreFault("state_damaged", detail) if is_damaged else StoreFault("not_found"))
        waited_ms = known_ms
        if self._changed_at_s is not None:
            waited_ms = min(waited_ms, int((self._now_s() - self._changed_at_s) * 1_000))
        if is_damaged:
            waited_ms = min(waited_ms, self._retention.live_ms - aside_left_ms)
        if waited_ms < self._grace_ms:
            raise Failed(StoreFault("unavailable", "the log was lost; whoever holds more than the archive comes first"))
        yield from self._from_archive(found)

    def _from_archive(self, kept: Snapshot) -> Steps[None]:
        snapshot = replace(kept, epoch=rebuilt(kept.epoch, self._new_part()))
        answer = yield from self.put_back(Held(snapshot, [], [], []))
        if isinstance(answer, StoreFault):
            raise Failed(answer)
        if isinstance(answer, PutBack):
            # At once: what is lost next is rebuilt from this log, and not once more from the one before it.
            self._archive.keep(snapshot)
            _log.error(
                "session_rebuilt",
                session=kept.session,
                version=kept.version,
                action="Redis lost its log and no node held it: it goes on from the archive's newest state, under a new"
                " epoch; devices send again what they hold",
            )

    def put_back(self, held: Held) -> Steps[PutBack | Forked | StoreFault]:
        """As `StateStore.put_back`; also a new log that nothing is held of but its state. Raises Failed, Damage."""
        snapshot = held.snapshot
        session, account = snapshot.session, snapshot.account
        yield from self._indexes.list_session(session, account, self.first_look(snapshot.at))
        offer = snapshot.offer
        if offer is not None and offer.target is not None:
            yield from self._indexes.list_offer(session, account, offer.target, offer.expires_at)
        keys = session_keys(session)
        for _ in range(2):
            outline = yield ran(self._link, _outline, [keys.head, keys.snaps], [], is_write=False)
            stands = int(sound(outline)[1] or 0) if isinstance(outline, list) else 0
            args = self._put_back_args(held, stands)
            touched = [keys.head, keys.log, keys.snap, keys.snaps, keys.gone, keys.damaged]
            answer = yield ran(self._link, _put_back, touched, args)
            if not isinstance(answer, Failure):
                break
            if not is_damage(answer):
                raise_failure(answer)
            # What is in the way is set aside: what is held here is the better copy.
            yield from self.set_aside(session, answer.text)
        verdict = sound(answer)
        if verdict[0] == 0:
            # Listed above for a log that does not come back: nobody else would take that out again.
            yield from self._indexes.unlist(session, account.encode())
            return StoreFault("not_found")
        return Forked() if verdict[0] == 3 else PutBack(int(verdict[1]))

    def first_look(self, at: int) -> int:
        """When a sweep looks at a session whose last commit was then: none is kept shorter."""
        rules = self._retention
        return at + min(rules.live_ms, rules.completed_ms, rules.archived_ms)

    def _put_back_args(self, held: Held, stands: int) -> list[bytes]:
        """The entries that the store needs: from the one at its head on, and no more than is bounded."""
        snapshot, epoch = held.snapshot, held.snapshot.epoch.encode()
        rows: list[bytes] = []
        size = 0
        before, before_at = snapshot.version, held.before_at
        floor = min(stands, snapshot.version)
        for entry, digest, txn in zip(reversed(held.entries), reversed(held.digests), reversed(held.txns), strict=True):
            body = encode_entry(entry)
            size += len(body)
            if size > PUT_BACK_BYTES_MAX or entry.version < floor or entry.version > snapshot.version:
                before_at = entry.at if entry.version == before else 0
                break
            seal = seal_entry(epoch, entry.version, txn.encode(), digest, body)
            rows += [body, seal, txn.encode()]  # from the end on: turned round below
            before = entry.version - 1
        offer = snapshot.offer
        return [
            epoch,
            snapshot.account.encode(),
            b"%d" % snapshot.at,
            pack_kept(snapshot.at, snapshot.status),
            b"%d" % ttl_ms(self._retention, snapshot.status),
            b"" if offer is None else pack_waiting(offer.target, offer.expires_at),
            b"%d" % snapshot.version,
            pack_snapshot(snapshot),
            snapshot_mark(snapshot),
            b"%d" % before,
            b"%d" % before_at,
            *reversed(rows),
        ]


def ttl_ms(retention: Retention, status: str) -> int:
    """How long Redis itself keeps a log: a little longer than a sweep would, which also tells who lists it."""
    return retention.session_ms(status) + 2 * retention.run_every_ms
