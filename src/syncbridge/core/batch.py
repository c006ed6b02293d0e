"""One batch: events worked off together, the entries they came to, and what is said once those are committed.

Nothing of a batch has happened until its transaction is committed; `undo` takes it back, and the same events worked
off again against a newer log give whatever they mean there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from syncbridge._ext import measure
from syncbridge.core.digest import state_hash
from syncbridge.core.effects import AnyEffect, Deliver, Measured, Noted, Present, Send, StateView
from syncbridge.core.entry import Entry, HandoffNote, Position, Txn
from syncbridge.core.events import AnyEvent, MemberJoined
from syncbridge.core.ids import ConnectionId, DeviceId, JsonObject
from syncbridge.core.log import SessionLog
from syncbridge.core.members import Member
from syncbridge.core.messages import Ack, Joined, WaitingOffer

if TYPE_CHECKING:
    from syncbridge.core.session import SessionMachine

FEW_ENTRIES = 16
"""So few entries are sent without weighing them against the state."""

_NEWS = Ack | Joined
"""Answers that count versions; each follows the one before on its connection."""


class Batch:
    """See the module's text. ``mark`` is the committed place the batch started from.

    ``since_ms`` is when the first of its events was asked. ``is_refused``: whoever asked for them was told not to wait.
    ``is_known``: the log is at least as new as the store's was when the last of its events was asked.
    ``claims`` and ``held`` are those of its transaction; nothing is in them where no other node writes this log.
    """

    __slots__ = (
        "_members_before",
        "_run",
        "_run_but",
        "claims",
        "digests",
        "effects",
        "ended_offer",
        "entries",
        "events",
        "gone",
        "held",
        "is_compared",
        "is_known",
        "is_refused",
        "log",
        "machine",
        "mark",
        "now_ms",
        "since_ms",
        "txn",
        "wants_snapshot",
    )

    def __init__(
        self, machine: SessionMachine, log: SessionLog, now_ms: int, *, since_ms: int = 0, is_known: bool = False
    ) -> None:
        self.since_ms = since_ms or now_ms
        self.is_refused = False
        self.is_known = is_known
        self.machine = machine
        self.log = log
        self.now_ms = now_ms
        self.mark = log.mark()
        self.events: list[AnyEvent] = []
        self.entries: list[Entry] = []
        self.digests: list[int] = []
        self.effects: list[AnyEffect] = []
        self.gone: set[ConnectionId] = set()
        self.claims: dict[DeviceId, ConnectionId] = {}
        self.held: dict[DeviceId, ConnectionId] = {}
        self.txn: Txn | None = None
        self.is_compared = False
        self.wants_snapshot = False
        self.ended_offer: HandoffNote | None = None
        self._members_before: dict[ConnectionId, Member | None] = {}
        self._run: Deliver | None = None
        self._run_but: ConnectionId | None = None
        machine.ledger.begin()

    @property
    def is_appending(self) -> bool:
        """Something of it must be in the store before anything of it is said."""
        return bool(self.entries or self.claims)

    @property
    def is_for_store(self) -> bool:
        """Something of it must be in the store, or compared with it, before anything of it is said."""
        return self.is_appending or self.is_compared

    def compare(self) -> None:
        """An answer rests on the head, also where it appends nothing: another node may have been faster."""
        self.is_compared = self.machine.is_shared and not self.is_known

    @property
    def joined_by(self) -> Iterator[ConnectionId]:
        """The connections of its joins."""
        return (event.connection for event in self.events if isinstance(event, MemberJoined))

    def undo(self) -> None:
        """Members and ledger stand where they stood before the batch (the log is rolled back by its owner)."""
        members = self.machine.members
        for connection, before in self._members_before.items():
            members.put_back(connection, before)
        members.rewind(self.mark.version)
        self.machine.ledger.undo()

    def remember(self, connection: ConnectionId) -> None:
        """`undo` puts the member back to where it stands now: to be called before it is joined or caught up."""
        if connection not in self._members_before:
            self._members_before[connection] = self.machine.members.copy(connection)

    def say(self, effect: AnyEffect) -> None:
        """To be said once the batch is committed, in this order."""
        self._run = None
        self.effects.append(effect)

    def finish(self) -> None:
        """Nothing is added any more: whoever is told at all was told everything."""
        if self.entries:
            self.machine.members.advance(self.log.version)

    def said(self) -> list[AnyEffect]:
        """What is to be said now that it is committed: no news of the log to who left, or was refused, meanwhile.

        Such a connection may be about to join again; what it would be told before does not follow what it holds.
        """
        if not self.gone:
            return self.effects
        here = self.machine.members.by_connection
        said: list[AnyEffect] = []
        for effect in self.effects:
            if isinstance(effect, Deliver):
                said.append(Deliver(effect.entries, [there for there in effect.connections if there in here]))
            elif isinstance(effect, Present) and not self.machine.members.is_here(effect.device):
                continue
            elif not isinstance(effect, Send) or effect.connection in here or not isinstance(effect.message, _NEWS):
                said.append(effect)
        return said

    def append(
        self,
        entry: Entry,
        *,
        digest: int = 0,
        state: JsonObject | None = None,
        size: int = -1,
        but: ConnectionId | None = None,
    ) -> None:
        """``entry`` is the next one; every member but ``but`` (who gets an answer of its own) is told."""
        # What waits now may have been offered in this very batch: the mark does not know it.
        self.ended_offer = self.log.offer if entry.status in ("completed", "archived") else None
        self.log.append(entry, digest, state, size)
        self.entries.append(entry)
        self.digests.append(digest)
        if entry.kind in ("handoff", "status") or entry.status is not None:
            self.wants_snapshot = True
        run = self._run
        if run is not None and self._run_but == but:
            # One frame for a burst of the same device. Its acks in between go to another connection, and nobody joined
            # or was caught up in between, for that ends a run.
            run.entries.append(entry)
            return
        told = self.machine.members.receivers(but)
        if told:
            self._run, self._run_but = Deliver([entry], told), but
            self.effects.append(self._run)

    def answer(self, effect: Send) -> None:
        """An answer to the device whose entries are being told: it does not break the burst of the others."""
        if self._run is not None and self._run_but != effect.connection:
            self._run = None
        self.effects.append(effect)

    def catch_up(self, connection: ConnectionId, reason: str, ref: str = "") -> list[AnyEffect]:
        """One `joined` that brings the member from what it was told to the head."""
        member = self.machine.members.by_connection.get(connection)
        if member is None:
            return []
        have = member.version if member.version >= 0 else None
        note = Noted("caught_up", member.device, reason, {"from": member.version, "version": self.log.version})
        return [Send(connection, self.joined(connection, have, reason, ref)), Measured("resume", 1, reason), note]

    def joined(self, connection: ConnectionId, have: int | None, reason: str, ref: str) -> Joined:
        """The answer to a member that holds version ``have`` of this log (None: nothing of use)."""
        log, machine = self.log, self.machine
        member = machine.members.by_connection[connection]
        self.remember(connection)
        entries: list[Entry] | None = None
        base_hash = ""
        if have is None:
            reason = reason or "new"
        elif have > log.version:
            reason = "ahead"
        elif have < log.floor or log.version - have > machine.limits.resume_entries_max:
            reason = "behind"
        else:
            entries = log.after(have)
            if len(entries) > FEW_ENTRIES and sum(measure(entry.ops) for entry in entries) > log.size:
                # Entries would show a device that it holds another log than ours; here only this does.
                entries, reason, base_hash = None, "smaller", state_hash(log.state_at(have))
        member.version, member.is_lagging = log.version, False
        offer = log.offer
        return Joined(
            session=log.session,
            position=Position(log.epoch, log.version),
            mode="snapshot" if entries is None else "resumed",
            hash=state_hash(log.state),
            fence=log.fence,
            active=log.active,
            status=log.status,
            kind=log.kind,
            last_seq=log.last_seq(member.device),
            devices=machine.members.devices(log.active),
            server_time=self.now_ms,
            reason=reason,
            entries=entries,
            state=log.state if entries is None else None,
            offer=None if offer is None else WaitingOffer(offer.id, offer.source, str(offer.target), log.offer_ends_at),
            ref=ref,
            base_hash=base_hash,
        )

    def view(
        self, *, handoff: str = "", uncertainty_ms: int = 0, is_waiting: bool = False, undone_by: int = 0
    ) -> StateView:
        """What REST shows at this place."""
        log = self.log
        return StateView(
            epoch=log.epoch,
            version=log.version,
            status=log.status,
            fence=log.fence,
            active=log.active,
            updated_at=log.updated_at,
            hash=state_hash(log.state),
            state=log.state,
            size=log.size,
            handoff=handoff,
            uncertainty_ms=uncertainty_ms,
            is_waiting=is_waiting,
            undone_by=undone_by,
        )
