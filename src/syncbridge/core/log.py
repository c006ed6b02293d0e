"""A session's log in memory: the fold of its entries, its recent past, and a way back from a commit that failed.

`SessionLog` holds what the snapshot and the entries after it say, and the states of the recent past: a few
checkpoints that share what did not change (the core copies paths, not documents), so the state at any version
since ``floor`` costs at most ``checkpoint_entries`` small patches. Entries are appended before their commit is
known to have worked; `mark` and `rollback` take them off again.

Invariants
    ``entries`` are contiguous, from ``floor + 1`` to ``version``;
    ``checkpoints`` ascend and the first one is at ``floor``;
    every device's settled pushes ascend in seq and in version, at most inflight_max + txn_entries_max of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

from syncbridge._ext import apply_measured, apply_patch, measure
from syncbridge.core.entry import Entry, HandoffNote, Settled, Snapshot, Status
from syncbridge.core.ids import AccountId, JsonObject, Op, SessionId
from syncbridge.core.playhead import KEY
from syncbridge.limits import Limits

ANY_SIZE = 2**62
"""A committed entry was within the limit of its day; reading it back is not the time to judge."""


_NOTHING: Mapping[int, list[Op]] = MappingProxyType({})
_NOBODY: frozenset[int] = frozenset()


class Mark(Struct, frozen=True, gc=False):
    """What `rollback` puts back; the deques are cut by version."""

    version: int
    state: JsonObject
    size: int
    fence: int
    active: str | None
    status: Status
    offer: HandoffNote | None
    offer_version: int
    seek_version: int
    seek_device: str
    playhead_version: int
    fence_version: int
    updated_at: int
    offer_ends_at: int


class Work:
    """A device's accepted push as the device made it: its ops as sent, on top of its own unanswered ones at ``base``.

    The log holds what a push became; what the device has on its screen is what it sent. Where the two differ (a
    removal that another device was first to make leaves nothing in the log), only this tells what the indexes of
    the device's next push count on.

    ``carried`` are those that it was made on top of, by their versions, as the device showed them at ``base``; one that
    is not named looked as it was made; None where that is forgotten. ``guessed`` are the versions of those which this
    process did not see made.

    ``run`` counts the entries up to this one, without a gap, that are pushes of this device, each made on the very
    head and committed as it was made, the playhead apart, which no other op counts on: whoever knows the log from
    before the run has its end on the screen.
    """

    __slots__ = ("base", "carried", "guessed", "ops", "run", "version")

    def __init__(self, version: int, base: int, ops: list[Op]) -> None:
        self.version = version
        self.base = base
        self.ops = ops
        self.carried: Mapping[int, list[Op]] | None = _NOTHING
        self.guessed: frozenset[int] = _NOBODY
        self.run = 0


class SessionLog:
    """See the module's text. ``works`` are each device's last pushes, oldest first, as far as this process saw them.

    ``offer_ends_at`` is when the waiting offer's time is over, by this process' clock: the offer's own ``expires_at``
    is by the clock of whoever wrote it.

    ``txns`` are the transactions of entries by their versions, as far as known: where nodes share the log, two that
    hold another one at the same version hold two logs.
    """

    __slots__ = (
        "account",
        "active",
        "checkpoints",
        "created_at",
        "entries",
        "epoch",
        "fence",
        "fence_version",
        "floor",
        "floor_at",
        "heard",
        "kind",
        "limits",
        "offer",
        "offer_ends_at",
        "offer_version",
        "playhead_version",
        "seek_device",
        "seek_version",
        "session",
        "settled",
        "size",
        "state",
        "status",
        "title",
        "txns",
        "updated_at",
        "version",
        "works",
    )

    def __init__(self, snapshot: Snapshot, limits: Limits) -> None:
        self.limits = limits
        self.session = snapshot.session
        self.account = snapshot.account
        self.kind = snapshot.type
        self.title = snapshot.title
        self.epoch = snapshot.epoch
        self.version = self.floor = snapshot.version
        self.created_at = snapshot.created_at
        self.updated_at = self.floor_at = snapshot.at
        self.state = snapshot.state
        self.size = snapshot.size
        self.fence = snapshot.fence
        self.active = snapshot.active
        self.status: Status = snapshot.status
        self.offer = snapshot.offer
        self.offer_version = snapshot.offer_version
        self.offer_ends_at = 0 if snapshot.offer is None else snapshot.offer.expires_at
        self.seek_version = snapshot.seek_version
        self.seek_device = snapshot.seek_device
        self.playhead_version = snapshot.playhead_version
        self.fence_version = snapshot.fence_version
        self.heard: dict[str, int] = dict(snapshot.heard)
        self.settled: dict[str, deque[Settled]] = {
            device: deque(settled) for device, settled in snapshot.settled.items()
        }
        self.works: dict[str, deque[Work]] = {}
        self.txns: dict[int, str] = {}
        self.entries: deque[Entry] = deque()
        self.checkpoints: list[tuple[int, JsonObject]] = [(snapshot.version, snapshot.state)]

    # -- growing ------------------------------------------------------------------------------------------------

    def append(self, entry: Entry, digest: int, state: JsonObject | None = None, size: int = -1) -> None:
        """``entry`` is the head; ``state`` and ``size`` where the caller has applied its ops already.

        Raises PatchError when the ops do not apply: the log is damaged then, for it was valid when committed.
        """
        if state is None:
            state, size = self.state, self.size
            if entry.ops:
                state, size = apply_measured(state, size, entry.ops, size_max=ANY_SIZE)
        version = entry.version
        if state is not self.state and state.get(KEY) is not self.state.get(KEY):
            self.playhead_version = version
            if entry.intent == "seek" or entry.kind == "restore":
                # Its own seek among its pushes is no news to a device; what was asked for beside them is.
                self.seek_version, self.seek_device = version, entry.device if entry.seq else ""
        self.state, self.size, self.version = state, size, version
        self.updated_at = entry.at
        if entry.status is not None:
            self.status = entry.status
            if entry.status in ("completed", "archived"):
                self.offer = None
        if entry.fence:
            self.fence, self.active, self.fence_version = entry.fence, entry.active, version
            self.offer = None
        elif entry.kind == "offer":
            self.offer, self.offer_version = entry.handoff, version
            self.offer_ends_at = 0 if entry.handoff is None else entry.handoff.expires_at
        elif entry.kind == "withdraw":
            self.offer = None
        if entry.seq:
            settled = self.settled.get(entry.device)
            if settled is None:
                settled = self.settled[entry.device] = deque()
            settled.append(Settled(entry.seq, version, digest))
            if len(settled) > self.limits.inflight_max + self.limits.txn_entries_max:
                # More than is ever asked for again, even after this whole transaction is rolled back.
                settled.popleft()
        self.entries.append(entry)
        if version - self.checkpoints[-1][0] >= self.limits.checkpoint_entries:
            self.checkpoints.append((version, state))

    def remember(self, device: str, work: Work, *, is_as_made: bool = False) -> None:
        """The newest entry is this work of ``device``; ``is_as_made``: made on the head before, and not changed.

        Kept are those which the newest counts on, and four times as many as it may have on the wire; what these count
        on themselves, for as many as it may have on the wire, for the newest may be taken back.
        """
        works = self.works.get(device)
        if works is None:
            works = self.works[device] = deque()
        if is_as_made:
            work.run = 1 + (works[-1].run if works and works[-1].version == work.version - 1 else 0)
        works.append(work)
        inflight_max = self.limits.inflight_max
        if len(works) > inflight_max:
            works[-1 - inflight_max].carried = None
        while len(works) > 4 * inflight_max and works[0].version <= work.base:
            works.popleft()

    def next_floor(self) -> int:
        """Where `trim` would cut; 0 where nothing is past the bounds."""
        excess = len(self.entries) - self.limits.log_entries_kept_max
        if excess <= 0:
            return 0
        # Cut at a checkpoint, so that the floor's state is known without any patching.
        return next((version for version, _ in self.checkpoints[1:] if version >= self.floor + excess), 0)

    def trim(self) -> None:
        """Forget what is past the bounds; to be called when everything appended is committed."""
        floor = self.next_floor()
        if not floor:
            return
        while self.checkpoints[0][0] < floor:
            del self.checkpoints[0]
        for device in [device for device, works in self.works.items() if not works or works[-1].version <= floor]:
            del self.works[device]  # no push can be made on a base that far back
        while self.floor < floor:
            self.floor_at = self.entries.popleft().at
            self.floor += 1
            self.txns.pop(self.floor, None)

    def mark(self) -> Mark:
        """Where we are now, for `rollback`."""
        return Mark(
            self.version,
            self.state,
            self.size,
            self.fence,
            self.active,
            self.status,
            self.offer,
            self.offer_version,
            self.seek_version,
            self.seek_device,
            self.playhead_version,
            self.fence_version,
            self.updated_at,
            self.offer_ends_at,
        )

    def rollback(self, mark: Mark) -> None:
        """Everything appended since ``mark`` is gone."""
        while self.entries and self.entries[-1].version > mark.version:
            entry = self.entries.pop()
            if entry.seq:
                self.settled[entry.device].pop()
                works = self.works.get(entry.device)
                if works and works[-1].version == entry.version:
                    works.pop()
        while self.checkpoints[-1][0] > mark.version:
            self.checkpoints.pop()
        self.version, self.state, self.size = mark.version, mark.state, mark.size
        self.fence, self.active, self.fence_version = mark.fence, mark.active, mark.fence_version
        self.offer, self.offer_version, self.offer_ends_at = mark.offer, mark.offer_version, mark.offer_ends_at
        self.seek_version, self.seek_device = mark.seek_version, mark.seek_device
        self.playhead_version, self.updated_at, self.status = mark.playhead_version, mark.updated_at, mark.status

    def count_offer(self, now_ms: int, left_ms: int | None = None) -> None:
        """The waiting offer ends in ``left_ms``, or where nobody knows, when its writer's clock says; never later than
        it was to last from now on.
        """
        note = self.offer
        if note is None:
            return
        entry = self.entry(self.offer_version)
        lasts_ms = self.limits.handoff_offer_ms_max if entry is None else note.expires_at - entry.at
        ends_at = note.expires_at if left_ms is None else now_ms + left_ms
        self.offer_ends_at = min(ends_at, now_ms + lasts_ms)

    # -- looking back -------------------------------------------------------------------------------------------

    def entry(self, version: int) -> Entry | None:
        """The entry at ``version``, where it is still held."""
        index = version - self.floor - 1
        return self.entries[index] if 0 <= index < len(self.entries) else None

    def after(self, version: int) -> list[Entry]:
        """The entries after ``version`` (which is not below the floor), oldest first."""
        count = self.version - version
        if count <= 0:
            return []
        if count == 1:
            return [self.entries[-1]]
        entries = self.entries
        return [entries[index] for index in range(len(entries) - count, len(entries))]

    def state_at(self, version: int) -> JsonObject:
        """The state at ``version``, which lies between the floor and the head."""
        if version == self.version:
            return self.state
        known, state = self.checkpoints[0]
        for checkpoint, there in reversed(self.checkpoints):
            if checkpoint <= version:
                known, state = checkpoint, there
                break
        for at in range(known + 1, version + 1):
            ops = self.entries[at - self.floor - 1].ops
            if ops:
                state = apply_patch(state, ops)
        return state

    def last_seq(self, device: str) -> int:
        """The highest push of ``device`` in the log; 0 when there is none."""
        settled = self.settled.get(device)
        return settled[-1].seq if settled else 0

    def digests_up_to(self, version: int) -> list[int]:
        """The body digests of the entries held up to ``version``, in step; 0 where none is remembered any more."""
        known = {one.version: one.digest for settled in self.settled.values() for one in settled}
        return [known.get(at, 0) for at in range(self.floor + 1, version + 1)]

    def snapshot(self, mark: Mark | None = None) -> Snapshot:
        """All of it at the head, or at ``mark`` behind it; shares the state, which nobody changes."""
        at = self.mark() if mark is None else mark
        return Snapshot(
            session=self.session,
            account=self.account,
            type=self.kind,
            epoch=self.epoch,
            version=at.version,
            at=at.updated_at,
            created_at=self.created_at,
            state=at.state,
            size=at.size,
            fence=at.fence,
            active=at.active,
            status=at.status,
            settled={device: settled for device in self.settled if (settled := self._settled_at(device, at.version))},
            seek_version=at.seek_version,
            seek_device=at.seek_device,
            playhead_version=at.playhead_version,
            fence_version=at.fence_version,
            heard=dict(self.heard),
            offer=at.offer,
            offer_version=at.offer_version,
            title=self.title,
        )

    def _settled_at(self, device: str, version: int) -> list[Settled]:
        settled = list(self.settled[device])
        if settled and settled[-1].version > version:
            settled = [one for one in settled if one.version <= version]
        return settled[-self.limits.inflight_max :]


def founding(
    state: JsonObject,
    *,
    session: str,
    account: str,
    kind: str,
    title: str,
    epoch: str,
    device: str,
    now_ms: int,
) -> tuple[Snapshot, Entry]:
    """The first entry of a new session and the snapshot of it; ``device`` ("" for none) is its first owner."""
    entry = Entry(
        version=1,
        kind="create",
        at=now_ms,
        device=device,
        ops=[{"op": "replace", "path": "", "value": state}],
        fence=1 if device else 0,
        active=device or None,
        status="active",
    )
    snapshot = Snapshot(
        session=SessionId(session),
        account=AccountId(account),
        type=kind,
        title=title,
        epoch=epoch,
        version=1,
        at=now_ms,
        created_at=now_ms,
        state=state,
        size=measure(state),
        fence=entry.fence,
        active=entry.active,
        fence_version=1 if device else 0,
    )
    return snapshot, entry
