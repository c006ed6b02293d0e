"""One session as one device holds it: confirmed state, unsettled edits, what the screen shows. Pure.

No clock, no loop, no randomness: times come in, messages come out, so that a simulator can run hundreds.

============= ==================================== ======================================================
state         what comes                           what follows
============= ==================================== ======================================================
unjoined      `join()`, then its `joined`          joined; pushes that are not in the log may be rewritten
joined        entries, acks in version order       folded; own edits settled; others carried over
joined        a gap; a patch that does not apply   `Join` goes out: joining
any           `joined` of a log that lost some     acknowledged edits that it does not know are made again
joined        reject                               by code: dropped and listed, sent again, or joining
joining       `joined` with another ref            the server's own catch-up: folded; bodies stay as they are
any           `disconnected()`                     unjoined; what was on the wire is sent again
============= ==================================== ======================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_never

import msgspec

from syncbridge.client.chain import Chain, applied, rows_of_lost
from syncbridge.client.kept import Kept
from syncbridge.client.pending import (
    Acked,
    ConflictRecord,
    Dump,
    Outcome,
    Pending,
    PendingRow,
    Phase,
    QueueFull,
    Rejected,
)
from syncbridge.client.window import Window
from syncbridge.core.digest import state_hash
from syncbridge.core.entry import Entry, HandoffNote, Intent, Position
from syncbridge.core.ids import JsonObject, Op
from syncbridge.core.messages import (
    Ack,
    ClientMessage,
    DevicePresence,
    EntriesMessage,
    EntryMessage,
    Join,
    Joined,
    PresenceMessage,
    Push,
    Reject,
    WaitingOffer,
)
from syncbridge.core.session_types import SESSION_TYPES
from syncbridge.errors import MessageTooLarge, NotJoined, RateLimited, SyncBridgeError
from syncbridge.limits import Limits

CONFLICTS_KEPT_MAX = 1000
PENDING_MAX = 10_000
TRIES_MAX = 3
"""How often an edit that the server asks to be made anew is made anew before it is given up and listed."""
RETRY_MS = 250
ENVELOPE_BYTES = 512
"""Room that a push needs beside its ops within `message_bytes_max`."""

_MENDED_BY_JOIN = frozenset({"base_too_old", "base_in_future", "epoch_unknown", "bad_patch", "context_refused"})
"""A patch was tried here before it was sent: where it is bad, the server saw it on another document than we did."""
_MENDED_BY_NUMBER = frozenset({"seq_settled", "seq_conflict"})
_BASE_IS_GONE = frozenset({"epoch", "behind", "ahead"})

ReplicaMessage = Joined | EntryMessage | EntriesMessage | Ack | Reject | PresenceMessage

_encode = msgspec.json.Encoder().encode


def shipped_policies(kind: str) -> dict[str, Any] | None:
    """The compiled merge policies of a session type that ships; None (arrival order) for any other."""
    known = SESSION_TYPES.get(kind)
    return None if known is None else known.policies


class Replica:
    """A device's copy of a session.

    Drive it    `join()` when a connection is ready, `receive()` for every message about the session, `outgoing()`
                after each call for the pushes to send, `disconnected()` when the connection is gone;
                `take_outcomes()` says how edits ended, `dump()` and `load()` carry it over a crash.
    Times       ``now_ms`` is server time; only differences and the stamp of an edit depend on it.
    Invariants  `state` is `confirmed` with the pending edits on top, always.
                The body of a push changes only while no copy of it can take effect: before it is first sent, or
                after the `joined` that says it is not in the log.
                An edit ends exactly once, acked or rejected; every refused or overruled value is in `conflicts`.
                At most ``inflight_max`` pushes are on the wire, in number order.
    Duty        with a store, send only what a written `dump()` holds: ``outgoing(now, through=dump.revision)``.
                Else an edit made after a crash could take the number of one that is on the wire. And nothing
                ``inflight_max`` past the first that waits in it: what is sent again must still be remembered.
    """

    def __init__(
        self,
        session: str,
        device: str,
        *,
        policies_of: Callable[[str], dict[str, Any] | None] = shipped_policies,
        limits: Limits | None = None,
    ) -> None:
        limits = limits or Limits()
        self.session = session
        self.device = device
        self.inflight_max = limits.inflight_max
        self.ops_max = limits.ops_max
        self.message_bytes_max = limits.message_bytes_max
        self.kind = ""
        self.fence = 0
        self.active: str | None = None
        self.status = "active"
        self.offer: WaitingOffer | None = None
        self.devices: dict[str, DevicePresence] = {}
        self.conflicts: list[ConflictRecord] = []
        self.has_state = False
        self.is_joined = False
        self.next_seq = 1
        self._policies_of = policies_of
        self._chain = Chain(device)
        self._outcomes: list[Outcome] = []
        self._next_key = 1
        self._joins = 0
        self._join_ref = ""
        self._join_seq = 1
        self._window = Window()
        self._kept = Kept()
        self._is_astray = False

    # -- what it shows ----------------------------------------------------------------------------------------------

    @property
    def state(self) -> JsonObject:
        """The optimistic state. Never change it in place."""
        return self._chain.top

    @property
    def confirmed(self) -> JsonObject:
        """The state of the log at `position`."""
        return self._chain.state

    @property
    def position(self) -> Position | None:
        return Position(self._chain.epoch, self._chain.version) if self.has_state else None

    @property
    def pending(self) -> tuple[Pending, ...]:
        return tuple(self._chain.pending)

    @property
    def is_active(self) -> bool:
        """Whether this device holds the session's fence, as far as it knows."""
        return self.active == self.device

    def take_outcomes(self) -> list[Outcome]:
        """How edits ended since the last call."""
        taken, self._outcomes = self._outcomes, []
        return taken

    # -- editing ----------------------------------------------------------------------------------------------------

    def edit(self, ops: list[Op], intent: Intent, now_ms: int, *, fence: int | None = None) -> Pending | None:
        """The optimistic state has changed and the edit waits to be sent; None when there is nothing to say.

        A `progress` report that is still unsent is replaced by the next one: only the newest matters.
        Raises   PatchError and its kin (nothing changed), NotJoined before the first state, MessageTooLarge,
                 QueueFull.
        """
        if not self.has_state:
            raise NotJoined("the session has no state here yet; join it while online once")
        if not ops and intent == "edit":
            return None
        if len(_encode(ops)) > self.message_bytes_max - ENVELOPE_BYTES:
            raise MessageTooLarge(f"an edit takes at most {self.message_bytes_max - ENVELOPE_BYTES} bytes; split it")
        chain = self._chain
        last = chain.pending[-1] if chain.pending else None
        if last is not None and intent == "progress" == last.intent and last.phase is Phase.FREE:
            last.after = applied(last.context, ops, ops_max=self.ops_max)
            last.ops = last.display = ops
            last.base, last.epoch, last.is_contested, last.rows = chain.version, chain.epoch, False, []
            last.at, last.fence, last.revision = now_ms, fence, chain.touched()
            chain.top = last.after
            return last
        if len(chain.pending) >= PENDING_MAX:
            raise QueueFull(f"{PENDING_MAX} edits wait to be sent")
        revision, top = chain.touched(), chain.top
        row = PendingRow(
            self._next_key, self.next_seq, chain.version, chain.epoch, ops, intent, now_ms, revision, fence
        )
        one = Pending.of_row(row, top, applied(top, ops, ops_max=self.ops_max), Phase.FREE)
        self._next_key += 1
        self.next_seq += 1
        chain.pending.append(one)
        chain.top = one.after
        return one

    def outgoing(self, now_ms: int, *, through: int | None = None, below: int | None = None) -> list[Push]:
        """The pushes to send now, in order, within the window; each counts as sent. For the bounds see Duty."""
        if not self.is_joined or self._join_ref:
            return []
        room = self._window.size(self.inflight_max) - sum(one.phase is Phase.SENT for one in self._chain)
        pushes: list[Push] = []
        for one in self._chain:
            if one.phase is Phase.SENT:
                continue
            if self._chain.is_held and not one.is_overtaken:
                break
            if len(pushes) >= room or one.phase is Phase.LOOSE or one.retry_at > now_ms:
                break
            if (through is not None and one.revision > through) or (below is not None and one.seq >= below):
                break
            one.phase = Phase.SENT
            pushes.append(one.as_push(self.session, self._chain.settled_below(one)))
        return pushes

    def retry_at(self) -> int | None:
        """When the next push may be sent, where it waits for its time and holds up those behind it; else None."""
        first = next((one for one in self._chain if one.phase is not Phase.SENT), None)
        return (first.retry_at or None) if first is not None and first.phase is Phase.AGAIN else None

    # -- joining ----------------------------------------------------------------------------------------------------

    def join(self, *, is_fresh: bool = False) -> Join:
        """The message that (re)joins; ``is_fresh`` asks for the whole state."""
        self._joins += 1
        self._join_ref = f"j{self._joins}"
        first = next((one.seq for one in self._chain if one.phase is not Phase.LOOSE), self.next_seq)
        self._join_seq = first
        knows_numbers = self.has_state or bool(self._chain.pending)
        position = None if is_fresh else self.position
        return Join(self.session, position, first if knows_numbers else None, self._join_ref)

    def disconnected(self) -> None:
        """The connection is gone: what was on the wire may or may not have arrived."""
        self.is_joined = False
        self._join_ref = ""
        for one in self._chain:
            if one.phase is Phase.SENT:
                one.phase = Phase.AGAIN
            one.retry_at = 0
        self.devices = {name: msgspec.structs.replace(device, online=False) for name, device in self.devices.items()}

    def _rejoin(self, *, is_fresh: bool = False) -> list[ClientMessage]:
        if self._join_ref and not is_fresh:
            return []
        return [self.join(is_fresh=is_fresh)]

    # -- what the server says ---------------------------------------------------------------------------------------

    def receive(self, message: ReplicaMessage, now_ms: int) -> list[ClientMessage]:
        """What has to be sent because of this message, beside the pushes of `outgoing()`."""
        match message:
            case EntryMessage():
                return self._on_entries([_entry_of(message)], now_ms)
            case EntriesMessage():
                return self._on_entries(message.entries, now_ms)
            case Ack():
                return self._on_ack(message, now_ms)
            case Reject():
                return self._on_reject(message, now_ms)
            case Joined():
                return self.joined(message, now_ms)
            case PresenceMessage():
                self.devices[message.device] = DevicePresence(
                    message.device, message.name, message.platform, message.online, message.active
                )
                return []
            case _ as never:
                assert_never(never)

    def joined(self, message: Joined, now_ms: int) -> list[ClientMessage]:
        """The replica is at the message's position, whole and verified; or another `Join` goes out."""
        is_answer = bool(self._join_ref) and message.ref == self._join_ref
        if message.ref and not is_answer:
            return []
        chain, epoch, version = self._chain, message.position.epoch, message.position.version
        entries: list[Entry] = []
        if message.mode == "snapshot":
            state = message.state or {}
            base_is_gone = epoch != chain.epoch or message.reason in _BASE_IS_GONE or version < chain.version
            is_other = bool(message.base_hash) and message.base_hash != state_hash(chain.state)
            base_is_gone = base_is_gone or is_other or self._is_astray
            self._is_astray = base_is_gone and not is_answer
        else:
            entries = [entry for entry in message.entries or [] if entry.version > chain.version]
            states = chain.states_after(entries) if self.has_state and epoch == chain.epoch else None
            is_whole = states is not None and version == chain.version + len(entries)
            if states is None or not is_whole or state_hash(states[-1] if states else chain.state) != message.hash:
                self._is_astray = True  # what it holds is of no log, or of one that went another way
                return self._rejoin(is_fresh=True)
            base_is_gone = self._is_astray
            self._is_astray = base_is_gone and not is_answer
            self._list_rows_of(entries)
            self._settle_by(entries, states, is_owner=message.active == self.device)
            state = chain.state
        if message.kind != self.kind or chain.policies is None:
            self.kind, chain.policies = message.kind, self._policies_of(message.kind)
        self.fence, self.active, self.status = message.fence, message.active, message.status
        self.offer, self.devices = message.offer, {device.id: device for device in message.devices}
        # Those that no log has any more go first again; in the midst of a connection they wait for its numbers.
        chain.pending[:0] = self._kept.missing(message.last_seq, Phase.FREE if is_answer else Phase.LOOSE)
        chain.found_in_log(message.last_seq, {entry.seq for entry in entries if entry.device == self.device})
        self.has_state = True
        chain.epoch = epoch
        chain.confirm(state, version, is_owner=self.is_active)
        if is_answer:
            self._join_ref, self.is_joined = "", True
            first = max(self._join_seq, message.last_seq + 1)
            self.next_seq, rewritten_from = chain.number(first, message.last_seq, base_is_gone=base_is_gone)
            chain.settle(is_owner=self.is_active)
            self._rewrite_from(rewritten_from, now_ms)
        if message.mode == "snapshot":
            chain.overtake()
        self._freshen(now_ms)
        is_waiting = any(one.phase is Phase.LOOSE for one in chain) or (self._is_astray and bool(chain.pending))
        return self._rejoin() if is_waiting and not is_answer else []

    def _rewrite_from(self, index: int, now_ms: int) -> None:
        self._list([ConflictRecord(now_ms, row) for row in self._chain.rewrite_from(index)])

    def _settle_by(self, entries: list[Entry], states: list[JsonObject], *, is_owner: bool) -> None:
        """The entries, which lead to ``states``, are confirmed; own edits among them have ended."""
        for one, entry in self._chain.follow(entries, states, is_owner=is_owner):
            self._kept.settled(one)
            self._end(one, Acked(entry.version, [*one.told, *entry.conflicts]))

    # -- entries and acks -------------------------------------------------------------------------------------------

    def _on_entries(self, entries: list[Entry], now_ms: int) -> list[ClientMessage]:
        chain = self._chain
        fresh = [entry for entry in entries if entry.version > chain.version]
        if not self.has_state or not fresh:
            return []
        if fresh[0].version != chain.version + 1:
            return self._rejoin()
        states = chain.states_after(fresh)
        if states is None:
            return self._rejoin(is_fresh=True)
        self._list_rows_of(fresh)
        for entry in fresh:
            self._follow(entry)
        self._settle_by(fresh, states, is_owner=self.is_active)
        self._freshen(now_ms)
        return []

    def _on_ack(self, message: Ack, now_ms: int) -> list[ClientMessage]:
        self._window.acked(self.inflight_max)
        chain = self._chain
        one = chain.find(message.seq)
        is_entry = one is None or one.intent != "open"
        if is_entry and message.version > chain.version + (one is not None):
            return self._rejoin()  # the entry is not known here: `joined` brings it, and settles the push
        if one is None:
            return []
        is_first = chain.pending[0] is one
        if message.version <= chain.version or not is_entry:
            chain.pending.remove(one)
            chain.settle(is_owner=self.is_active)
        elif is_first and not one.is_assumed and one.display is one.ops and message.ops in (None, one.ops):
            chain.acknowledged(one)
        else:
            ops = one.ops if message.ops is None else message.ops
            try:
                state = applied(chain.state, ops)
            except SyncBridgeError:
                return self._rejoin(is_fresh=True)
            chain.pending.remove(one)
            chain.confirm(state, message.version, is_owner=self.is_active)
        if message.status is not None and message.version == chain.version:
            self.status = message.status
        chain.touched()
        self._list([ConflictRecord(message.at, row) for row in message.conflicts])
        self._kept.settled(one)
        self._end(one, Acked(message.version, [*one.told, *message.conflicts]))
        self._freshen(now_ms)
        return []

    def _follow(self, entry: Entry) -> None:
        """Ownership, status and the waiting offer are what the entry says."""
        if entry.fence:
            self.fence, self.active = entry.fence, entry.active
            self.devices = {
                name: msgspec.structs.replace(device, active=name == entry.active)
                for name, device in self.devices.items()
            }
        if entry.status is not None:
            self.status = entry.status
        note: HandoffNote | None = entry.handoff
        if entry.kind == "offer" and note is not None:
            self.offer = WaitingOffer(note.id, note.source, note.target or "", note.expires_at)
        elif entry.kind in ("withdraw", "handoff") or (entry.status not in (None, "active", "paused")):
            self.offer = None

    # -- refusals ---------------------------------------------------------------------------------------------------

    def _on_reject(self, message: Reject, now_ms: int) -> list[ClientMessage]:
        one = self._chain.find(message.seq)
        if one is None:
            return []
        if message.retry in ("same", "later"):
            one.phase, one.retry_at = Phase.AGAIN, now_ms + max(message.retry_after_ms, RETRY_MS)
            if message.code == RateLimited.code:
                self._window.refused()
            return []
        if message.code == "seq_gap":
            index = self._chain.pending.index(one)
            one.phase = Phase.AGAIN
            is_waiting = any(earlier.phase is Phase.AGAIN for earlier in self._chain.pending[:index])
            return [] if is_waiting else self._rejoin()
        is_mended = message.code in _MENDED_BY_JOIN and one.intent != "progress"
        is_mended = is_mended or (message.code in _MENDED_BY_NUMBER and one.intent == "edit")
        is_mended = is_mended or (message.code == "patch_test_failed" and one.is_adrift)
        if is_mended and one.tries < TRIES_MAX:
            one.phase, one.is_assumed = Phase.LOOSE, False
            one.tries += 1
            self._set_adrift(self._chain.pending.index(one) + 1)
            self._chain.settle(is_owner=self.is_active)
            if message.code in _MENDED_BY_NUMBER:
                self._list_lost(one, message.code, now_ms)
            return self._rejoin()
        self._drop(one, message, now_ms)
        return []

    def _drop(self, one: Pending, message: Reject, now_ms: int) -> None:
        chain = self._chain
        index = chain.pending.index(one)
        del chain.pending[index]
        chain.touched()
        self._list_lost(one, message.code, now_ms)
        self._end(one, Rejected(message.code, message.message, message.retry))
        chain.settle(is_owner=self.is_active)
        # What was made on top of it was made on a document that never comes to be.
        self._set_adrift(index)
        self._rewrite_from(index, now_ms)
        self._freshen(now_ms)

    def _set_adrift(self, index: int) -> None:
        """Edits from ``index`` on that are on the wire were made on top of one that is refused."""
        for later in self._chain.pending[index:]:
            later.is_adrift = later.is_adrift or later.phase is not Phase.FREE

    # -- small things -----------------------------------------------------------------------------------------------

    @property
    def _ops_bytes_max(self) -> int:
        return self.message_bytes_max - ENVELOPE_BYTES

    def _freshen(self, now_ms: int) -> None:
        self._list([ConflictRecord(now_ms, row) for row in self._chain.freshen(self._ops_bytes_max)])

    def _end(self, one: Pending, result: Acked | Rejected) -> None:
        self._outcomes.append(Outcome(one.key, result))

    def _list_lost(self, one: Pending, code: str, now_ms: int) -> None:
        rows = rows_of_lost(one.ops, self.device, "")
        self._list([ConflictRecord(now_ms, row, code, one.ops) for row in rows])

    def _list_rows_of(self, entries: list[Entry]) -> None:
        self._list([ConflictRecord(entry.at, row) for entry in entries for row in entry.conflicts])

    def _list(self, records: list[ConflictRecord]) -> None:
        if records:
            self.conflicts = [*self.conflicts, *records][-CONFLICTS_KEPT_MAX:]
            self._chain.touched()

    # -- over a crash -----------------------------------------------------------------------------------------------

    def dump(self) -> Dump | None:
        """Everything to go on from; None before the first state. Shares its values: do not change them."""
        if not self.has_state:
            return None
        chain = self._chain
        head = (self.session, self.device, chain.epoch, chain.version, chain.state, self.kind)
        owner = (self.fence, self.active, self.status)
        rows = [one.as_row() for one in chain]
        return Dump(*head, *owner, self.next_seq, self._next_key, chain.revision, rows, self.conflicts)

    def load(self, dump: Dump) -> None:
        """The replica, unused so far, goes on where the dump was taken; what waited counts as perhaps sent."""
        self.kind, self.fence, self.active, self.status = dump.kind, dump.fence, dump.active, dump.status
        self._chain.load(dump, self._policies_of(dump.kind))
        self.next_seq, self._next_key = dump.next_seq, dump.next_key
        self.conflicts = dump.conflicts
        self.has_state = True


def _entry_of(message: EntryMessage) -> Entry:
    fields = {name: getattr(message, name) for name in message.__struct_fields__ if name != "session"}
    return msgspec.convert(fields, Entry)
