"""A session as an app holds it: its state, edits, playhead, handoffs, presence and signals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Protocol, overload

from syncbridge._ext import check, diff, equal, resolve
from syncbridge.client.backoff import Backoff
from syncbridge.client.cache import Cache
from syncbridge.client.handoff import HandoffFace
from syncbridge.client.keeper import Keeper
from syncbridge.client.pending import Acked, ConflictRecord, Rejected
from syncbridge.client.playhead import PlayheadFace
from syncbridge.client.presence import PresenceFace
from syncbridge.client.replica import Replica, ReplicaMessage
from syncbridge.client.streams import Changes, Feed
from syncbridge.client.view import ObjectView, plain, raw, view_of
from syncbridge.core.entry import Intent, Position
from syncbridge.core.ids import Json, Op
from syncbridge.core.messages import (
    Ack,
    AnyServerMessage,
    ClientMessage,
    EntriesMessage,
    EntryMessage,
    ErrorMessage,
    HandoffDone,
    HandoffFailed,
    HandoffOffered,
    HandoffPrepare,
    Joined,
    Leave,
    Left,
    PresenceMessage,
    Reject,
    Signal,
    SignalMessage,
)
from syncbridge.core.playhead import POINTER
from syncbridge.errors import (
    ClientFault,
    NotFound,
    PlayheadIntent,
    StateDamaged,
    SyncBridgeError,
    ValidationFailed,
    by_code,
)

_MISSING = object()

REJOIN_LEAST_MS, REJOIN_BASE_MS = 250, 1_000
"""How long a session waits before it joins again: this at least, and by chance up to the base, doubled each time."""
REJOIN_STABLE_MS = 5_000
"""A join that held this long was a good one: the next wait is the first. What breaks the service at each join, or at
each push after it, is tried ever more rarely."""


class Link(Protocol):
    """What a session needs of the connection it lives on."""

    cache: Cache | None
    random: Callable[[], float]

    def send(self, message: ClientMessage) -> None:
        """The message goes out now; without a connection it is dropped."""

    def now_ms(self) -> int:
        """Server time."""

    def left(self, session: str) -> None:
        """The session is over here."""


class Mutation:
    """An edit on its way. Nobody has to wait for it: a refused edit is in ``session.conflicts`` too."""

    def __init__(self, key: int) -> None:
        self.key = key
        self.result: Acked | Rejected | None = None
        self._fault: SyncBridgeError | None = None
        self._settled = asyncio.Event()

    @property
    def is_settled(self) -> bool:
        return self.result is not None

    def settle(self, result: Acked | Rejected) -> None:
        """Whoever awaits it goes on."""
        self.result = result
        self._settled.set()

    def abandon(self, fault: SyncBridgeError) -> None:
        """Nobody here will hear how it ends; what is queued in a cache stays queued."""
        self._fault = fault
        self._settled.set()

    async def acked(self) -> Acked:
        """The edit is in the log and on the server's disk.

        Raises what it was refused with; or why its session ended here before its answer came, which says nothing of
        the edit: one that a cache holds is sent when the session is opened again.
        """
        await self._settled.wait()
        if self.result is None and self._fault is not None:
            raise self._fault
        if isinstance(self.result, Rejected):
            raise self.result.as_error()
        assert self.result is not None
        return self.result


class Conflicts(Sequence[ConflictRecord]):
    """What did not simply apply so far, oldest first; as an async iterator, what comes from now on."""

    def __init__(self, replica: Replica, feed: Feed[ConflictRecord]) -> None:
        self._replica = replica
        self._feed = feed

    @overload
    def __getitem__(self, index: int) -> ConflictRecord: ...
    @overload
    def __getitem__(self, index: slice) -> list[ConflictRecord]: ...
    def __getitem__(self, index: int | slice) -> ConflictRecord | list[ConflictRecord]:
        return self._replica.conflicts[index]

    def __len__(self) -> int:
        return len(self._replica.conflicts)

    def __iter__(self) -> Iterator[ConflictRecord]:
        return iter(list(self._replica.conflicts))

    def __aiter__(self) -> AsyncIterator[ConflictRecord]:
        return self._feed.items()


class Session:
    """A joined session. Made by ``bridge.join``; reading never waits, editing waits for this device's own disk."""

    def __init__(self, link: Link, replica: Replica) -> None:
        self.id = replica.session
        self._link = link
        self._replica = replica
        self._changes = Changes()
        self._signals: Feed[SignalMessage] = Feed()
        self._conflict_feed: Feed[ConflictRecord] = Feed()
        self._mutations: dict[int, Mutation] = {one.key: Mutation(one.key) for one in replica.pending}
        self._keeper = Keeper(link, replica)
        self._last_conflict = replica.conflicts[-1] if replica.conflicts else None
        self._backoff = Backoff(link.random, base_ms=REJOIN_BASE_MS)
        self._joined_at: int | None = None
        self.failure: SyncBridgeError | None = None
        self.interruption: SyncBridgeError | None = None
        """Why the service does not let this device follow just now; it is asked again by itself. None otherwise."""
        self.conflicts = Conflicts(replica, self._conflict_feed)
        self.playhead = PlayheadFace(replica, link.now_ms, self._edit)
        self.handoff = HandoffFace(replica, link.send, self._changes)
        self.presence = PresenceFace(replica, self._changes)

    # -- what it is -------------------------------------------------------------------------------------------------

    @property
    def state(self) -> ObjectView:
        """The optimistic state, read-only: what the log holds with this device's own edits on top."""
        return ObjectView(self._replica.state)

    @property
    def position(self) -> Position | None:
        """The place in the log that this device has reached."""
        return self._replica.position

    @property
    def kind(self) -> str:
        """The session's type."""
        return self._replica.kind

    @property
    def status(self) -> str:
        """active, paused, completed or archived."""
        return self._replica.status

    @property
    def active(self) -> str | None:
        """The device that runs the session."""
        return self._replica.active

    @property
    def is_active(self) -> bool:
        """Whether this device runs the session."""
        return self._replica.is_active

    @property
    def is_joined(self) -> bool:
        """Whether this device follows the session live; False while offline."""
        return self._replica.is_joined

    @property
    def pending(self) -> tuple[Mutation, ...]:
        """Edits without an answer, oldest first, those of an earlier process included."""
        return tuple(self._mutations.values())

    def get(self, path: str, default: Any = None) -> Any:
        """The value at a JSON Pointer, as a read-only view; ``default`` where there is none."""
        value: Any = resolve(self._replica.state, path, _MISSING)
        return default if value is _MISSING else view_of(value)

    # -- editing ----------------------------------------------------------------------------------------------------

    async def set(self, path: str, value: Any) -> Mutation:
        """The value stands at the JSON Pointer ``path``, here at once; the answer of the log is the `Mutation`.

        Durability  with a cache the edit survives ``kill -9`` when this returns; ``await mutation.acked()`` waits
                    for the server's disk.
        Raises      PatchError where the path leads nowhere; BadMessage for a value that JSON cannot say.
        """
        value = _owned(value)
        current: Any = resolve(self._replica.state, path, _MISSING)
        if current is not _MISSING and equal(current, value):
            return self._settled_already()
        kind = "add" if current is _MISSING else "replace"
        intent: Intent = "seek" if path == POINTER or path.startswith(POINTER + "/") else "edit"
        return await self._edit([{"op": kind, "path": path, "value": value}], intent)

    async def remove(self, path: str) -> Mutation:
        """There is nothing at ``path`` any more. As `set` in everything else."""
        return await self._edit([{"op": "remove", "path": path}], "edit")

    async def patch(self, ops: Sequence[Op]) -> Mutation:
        """All of an RFC 6902 patch is applied, or none of it. As `set` in everything else."""
        return await self._edit(_owned(list(ops)), "edit")

    async def update(self, change: Callable[[Any], Any]) -> Mutation:
        """The state is what ``change`` makes of it: it gets a copy and returns the new state, or None for the copy.

        Only the difference travels. As `set` in everything else.
        """
        copied = plain(self._replica.state)
        changed = change(copied)
        target = _owned(copied if changed is None else plain(changed))
        if not isinstance(target, dict):
            raise ValidationFailed("the state of a session is an object")
        ops = diff(self._replica.state, target)
        return await self._edit(ops, "edit") if ops else self._settled_already()

    async def drained(self) -> None:
        """Every edit made so far has its answer, whichever it is."""
        for mutation in self.pending:
            await mutation._settled.wait()

    async def _edit(self, ops: list[Op], intent: Intent, fence: int | None = None) -> Mutation:
        if self.failure is not None:
            raise self.failure
        if intent == "edit" and any(_is_playhead(op) for op in ops):
            raise PlayheadIntent("the playhead is moved by session.playhead, or set on its own")
        one = self._replica.edit(ops, intent, self._link.now_ms(), fence=fence)
        assert one is not None
        mutation = self._mutations.setdefault(one.key, Mutation(one.key))
        self._changes.changed()
        await self._keeper.edited(one.revision)
        return mutation

    def _settled_already(self) -> Mutation:
        mutation, position = Mutation(0), self._replica.position
        mutation.settle(Acked(0 if position is None else position.version))
        return mutation

    # -- following --------------------------------------------------------------------------------------------------

    def watch(self, path: str = "") -> AsyncIterator[Any]:
        """The value at ``path`` now and after each change; None where there is none. Slow readers skip."""
        return self._changes.values(lambda: self.get(path), _is_same)

    def watch_joined(self) -> AsyncIterator[bool]:
        """Whether this device follows the session live: now, and after each change; `interruption` may say why not."""
        return self._changes.values(lambda: self.is_joined, bool.__eq__)

    def signal(self, data: Json) -> None:
        """The data goes to the other devices that follow the session now; it may be lost and is never stored."""
        self._link.send(Signal(self.id, data))

    def signals(self) -> AsyncIterator[SignalMessage]:
        """Signals of other devices from now on (``device``, ``data``)."""
        return self._signals.items()

    async def joined(self) -> None:
        """The session is followed live. Raises what the server refused it with."""
        async for is_over in self._changes.values(lambda: self.is_joined or self.failure is not None, bool.__eq__):
            if is_over:
                break
        if self.failure is not None:
            raise self.failure

    async def leave(self) -> None:
        """The session is followed no more; its cache stays."""
        self._link.send(Leave(self.id))
        await self.close(NotFound("the session was left"))
        self._link.left(self.id)

    @property
    def replica(self) -> Replica:
        """The pure part, for whoever drives the session."""
        return self._replica

    # -- what the connection tells ----------------------------------------------------------------------------------

    def online(self) -> None:
        """A connection is ready."""
        self._link.send(self._replica.join())

    def offline(self) -> None:
        """The connection is gone."""
        self._unfollowed()
        self._keeper.stop_retrying()
        self._changes.changed()

    def received(self, message: AnyServerMessage) -> None:
        """A message about this session came."""
        match message:
            case EntryMessage() | EntriesMessage() | Ack() | Reject() | Joined() | PresenceMessage():
                self._on_replica_message(message)
            case SignalMessage():
                self._signals.put(message)
            case HandoffOffered() | HandoffPrepare() | HandoffDone() | HandoffFailed():
                self.handoff.received(message)
            case Left(reason="unavailable" | "internal"):
                # It is not over, the service lost hold of it: what waits here is sent after the next join.
                self._unfollowed()
                self._join_later(by_code()[message.reason]())
            case Left(reason="state_damaged"):
                self._fail(StateDamaged())
            case Left():
                self._fail(NotFound(f"the session is followed no more: {message.reason or 'it is gone'}"))
            case ErrorMessage():
                self._on_error(message)
            case _:
                return
        self._changes.changed()

    def _on_replica_message(self, message: ReplicaMessage) -> None:
        replica = self._replica
        for answer in replica.receive(message, self._link.now_ms()):
            self._link.send(answer)
        for outcome in replica.take_outcomes():
            mutation = self._mutations.pop(outcome.key, None)
            if mutation is not None:
                mutation.settle(outcome.result)
        self._tell_conflicts()
        if isinstance(message, Joined) and replica.is_joined:
            self.interruption = None
            if self._joined_at is None:
                self._joined_at = self._link.now_ms()
            self.handoff.joined()
        self._keeper.changed()

    def _tell_conflicts(self) -> None:
        records = self._replica.conflicts
        if not records or records[-1] is self._last_conflict:
            return
        fresh: list[ConflictRecord] = []
        for record in reversed(records):
            if record is self._last_conflict:
                break
            fresh.append(record)
        self._last_conflict = records[-1]
        for record in reversed(fresh):
            self._conflict_feed.put(record)

    def _on_error(self, message: ErrorMessage) -> None:
        fault = by_code().get(message.code, ClientFault)(message.message)
        if message.about == "join" and message.retry == "never":
            self._fail(fault)
        elif message.about.startswith("handoff."):
            self.handoff.refused(message, fault)
        elif message.about == "join" or message.code == "not_joined":
            self._join_later(fault, message.retry_after_ms)

    def _unfollowed(self) -> None:
        """The session is not followed; what was on its way counts as perhaps arrived."""
        self._note_end()
        self.interruption = None
        self._replica.disconnected()
        self.handoff.disconnected()

    def _join_later(self, fault: SyncBridgeError, least_ms: int = 0) -> None:
        """It is joined again after a while; what comes before that changes nothing."""
        if not self._keeper.is_waiting:
            self._note_end()
            self.interruption = fault
            self._keeper.later(self.online, self._backoff.failed(least_ms=max(REJOIN_LEAST_MS, least_ms)))

    def _note_end(self) -> None:
        """A join that was a good one is forgotten, and with it the failures before it."""
        if self._joined_at is not None and self._link.now_ms() - self._joined_at >= REJOIN_STABLE_MS:
            self._backoff.succeeded()
        self._joined_at = None

    def _fail(self, fault: SyncBridgeError) -> None:
        self.failure, self.interruption = fault, None
        for mutation in self._mutations.values():
            mutation.abandon(fault)
        self._keeper.stop_retrying()
        self._replica.disconnected()

    async def flush(self) -> None:
        """What is known is in the cache."""
        await self._keeper.flush()

    async def close(self, fault: SyncBridgeError) -> None:
        """Nothing more comes: iterators end, waiting edits stay queued and whoever awaits joining gets ``fault``."""
        self._fail(fault)
        await self._keeper.close()
        self._changes.close()
        self._signals.close()
        self._conflict_feed.close()
        self.handoff.close(fault)


def _owned(value: Any) -> Any:
    """A copy that the caller cannot change any more; every peer can hold it."""
    value = plain(value)
    check(value)
    if _holds_nul(value):
        raise ValidationFailed("no peer takes a string that holds NUL")
    return value


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_holds_nul(name) or _holds_nul(child) for name, child in value.items())
    return isinstance(value, list) and any(_holds_nul(child) for child in value)


def _is_same(a: Any, b: Any) -> bool:
    return equal(raw(a), raw(b))


def _is_playhead(op: Op) -> bool:
    path = op.get("path")
    return isinstance(path, str) and (path == POINTER or path.startswith(POINTER + "/"))
