"""What each connection is told must be true, durable, in order and whole."""

from __future__ import annotations

import msgspec

from syncbridge.core.digest import state_hash
from syncbridge.core.entry import Entry
from syncbridge.core.messages import (
    Ack,
    EntriesMessage,
    EntryMessage,
    HandoffDone,
    HandoffFailed,
    Join,
    Joined,
    Reject,
    ServerMessage,
)
from syncbridge.wire.codec import decode_entry, encode_entry
from tests.sim.check_log import LogChecker
from tests.sim.truth import TrueLog
from tests.sim.world import Violation

FRESH_REASONS = frozenset({"new", "epoch", "behind", "ahead", "slow", "smaller"})


class _Line:
    """How far one connection was told, and what its device said that it holds."""

    __slots__ = ("asked", "told")

    def __init__(self) -> None:
        self.told = 0
        self.asked: dict[str, int | None] = {}


class WireChecker:
    """P4 (never silently behind), durability (said only when the store has it), P7 (what is told of owners)."""

    def __init__(self, log_checker: LogChecker) -> None:
        self._owners = log_checker
        self._lines: dict[int, _Line] = {}
        self.log: TrueLog | None = None
        self.snapshots = 0
        self.resumes = 0

    def on_join(self, link: int, message: Join) -> None:
        line = self._lines.setdefault(link, _Line())
        line.asked[message.ref] = None if message.position is None else message.position.version

    def on_sent(self, link: int, message: ServerMessage) -> None:
        """Judged when the node says it: at that moment the store must have it."""
        line = self._lines.setdefault(link, _Line())
        match message:
            case EntryMessage():
                self._told(line, [_entry_of(message)])
            case EntriesMessage():
                self._told(line, message.entries)
            case Joined():
                self._joined(line, message)
            case Ack():
                self._acked(line, message)
            case Reject():
                self._durable(message.version, "reject")
                if message.fence:
                    self._owner(message.fence, message.active)
            case HandoffDone():
                self._durable(message.version, "handoff.done")
                self._owner(message.fence, message.active)
            case HandoffFailed():
                assert self.log is not None
                if message.handoff in self._owners.done and not self.log.lost:
                    raise Violation("P7", f"handoff {message.handoff} is said to have failed, but it is in the log")

    def _durable(self, version: int, what: str) -> None:
        assert self.log is not None
        if version > self.log.highest:
            raise Violation("durable", f"{what} tells of version {version}; the store holds {self.log.version}")

    def _owner(self, fence: int, active: str | None) -> None:
        if (fence, active) not in self._owners.owners:
            raise Violation("P7", f"a device is told that {active} is active under fence {fence}")

    def _told(self, line: _Line, entries: list[Entry]) -> None:
        assert self.log is not None
        self._durable(entries[-1].version, "entry")
        if not line.told:
            raise Violation("P4", f"entry {entries[0].version} before any joined")
        for entry in entries:
            if entry.version != line.told + 1:
                raise Violation("P4", f"entry {entry.version} follows {line.told} on one connection")
            line.told += 1
            told = encode_entry(entry)
            if all(encode_entry(one) != told for one, _ in self.log.ever(entry.version)):
                raise Violation("P1", f"entry {entry.version} is told otherwise than it is in the log")

    def _joined(self, line: _Line, message: Joined) -> None:
        log, version = self.log, message.position.version
        assert log is not None
        self._durable(version, "joined")
        states = [state for _, state in log.ever(version)]
        if message.position.epoch == log.epoch and message.hash not in map(state_hash, states):
            raise Violation("P4", f"joined at {version} carries the hash of another state")
        if message.fence:
            self._owner(message.fence, message.active)
        if message.mode == "resumed":
            self.resumes += 1
            start = line.asked.get(message.ref) if message.ref else line.told
            if start is None or message.entries is None:
                raise Violation("P4", "resumed, though no position was given")
            versions = [entry.version for entry in message.entries]
            if not message.ref and versions:
                # A catch-up may bring again what an ack told before.
                start = min(start, versions[0] - 1)
            if versions != list(range(start + 1, version + 1)):
                raise Violation("P4", f"resumed from {start} to {version} by entries {versions}")
        else:
            self.snapshots += 1
            if message.reason not in FRESH_REASONS or message.state is None:
                raise Violation("P4", f"a snapshot with reason {message.reason!r}")
            if message.position.epoch == log.epoch and message.state not in states:
                raise Violation("P4", f"the snapshot at {version} is another state")
        line.told = version

    def _acked(self, line: _Line, message: Ack) -> None:
        assert self.log is not None
        self._durable(message.version, f"ack of {message.seq}")
        # An ack past that is a slow reader's: the entries between are held back, and a `joined` must bring them.
        if message.version == line.told + 1:
            line.told += 1


def _entry_of(message: EntryMessage) -> Entry:
    return decode_entry(msgspec.json.encode(message))
