"""Rules that every entry of the log must keep, judged at the moment in which it is durable."""

from __future__ import annotations

from typing import Protocol

from syncbridge.core.conflicts import standing_undo, undoings_in
from syncbridge.core.entry import Entry
from syncbridge.core.ids import JsonObject
from syncbridge.core.playhead import Anchor, of_state
from tests.sim.deeds import MISSING, REGISTERS, REST, value_at
from tests.sim.truth import TrueLog
from tests.sim.world import Violation

CONTINUITY_S = 0.020
"""P9: the playhead after a handoff."""
GRAIN_S = 0.002
"""Anchors are kept to the millisecond, at most twice rounded in a handoff."""


class SourceWatch(Protocol):
    """What the world knows of a device, whatever the service believes."""

    def is_heard(self, device: str) -> bool:
        """Its app runs, and its connection to the committing node is whole."""

    def died_ms(self, device: str) -> int | None:
        """When its app died; None while it runs."""

    def transit_ms(self) -> int:
        """How long its last word may have been under way."""


class LogChecker:
    """P1 (one log), P5 (each number once), P7 (one owner a fence), P9 (continuity), P10 (progress is never lost)."""

    def __init__(self, sources: SourceWatch) -> None:
        self._sources = sources
        self._seqs: dict[str, int] = {}
        self.owners: set[tuple[int, str | None]] = {(0, None)}
        self.done: dict[str, int] = {}
        self.said: dict[tuple[str, int], list[tuple[int, int | None]]] = {}
        self.fence = 0
        self.fence_version = 0
        self.active: str | None = None
        self.sought: tuple[int, str] = (0, "")
        self.asked: set[int] = set()
        self.handoffs = 0
        self.conflicts = 0

    def on_entry(self, log: TrueLog, entry: Entry) -> None:
        """Judges the entry; ``log`` holds it already."""
        if log.entry(entry.version) is not entry:
            raise Violation("P1", f"entry {entry.version} stands at another place of the log")
        before, after = log.states[entry.version - 1], log.states[entry.version]
        if entry.seq:
            last = self._seqs.get(entry.device, 0)
            if entry.seq <= last:
                raise Violation("P5", f"push {entry.seq} of {entry.device} is in the log again, after {last}")
            self._seqs[entry.device] = entry.seq
        for value in _asked_in(entry):
            if value in self.asked:
                raise Violation("P5", f"edit {value} over REST is in the log again, at {entry.version}")
            self.asked.add(value)
        self.conflicts += len(entry.conflicts)
        if entry.undoes is not None:
            self._judge_undo(log, entry, before)
        anchor, was = of_state(after), of_state(before)
        self._judge_owner(entry)
        if entry.kind == "create":
            self._follow(entry)
            return
        if anchor is None or was is None:
            raise Violation("P10", f"entry {entry.version} ({entry.intent}) leaves no playhead")
        self._judge_playhead(entry, was, anchor)
        if entry.kind == "handoff":
            self._judge_continuity(entry, was, anchor)
        self._follow(entry)

    def follow_again(self, log: TrueLog) -> None:
        """The log's end was lost, or put back: what was learnt of it is what it says now."""
        self._seqs.clear()
        self.done.clear()
        self.asked = {value for entry in log.entries[log.floor :] for value in _asked_in(entry)}
        self.sought, self.fence, self.fence_version, self.active = (0, ""), 0, 0, None
        for entry in log.entries:
            if entry.seq:
                self._seqs[entry.device] = entry.seq
            if entry.kind == "handoff" and entry.handoff is not None:
                self.done[entry.handoff.id] = entry.version
            before, after = log.states[entry.version - 1], log.states[entry.version]
            is_sought = entry.intent == "seek" or entry.kind == "restore"
            if is_sought and of_state(before) != of_state(after):
                self.sought = (entry.version, entry.device if entry.seq else "")
            self._follow(entry)

    def _follow(self, entry: Entry) -> None:
        if entry.fence:
            self.fence, self.active, self.fence_version = entry.fence, entry.active, entry.version

    def _judge_owner(self, entry: Entry) -> None:
        if entry.fence:
            if entry.fence != self.fence + 1 or entry.kind not in ("create", "handoff") or not entry.active:
                raise Violation("P7", f"entry {entry.version} ({entry.kind}) moves fence {self.fence} to {entry.fence}")
            self.owners.add((entry.fence, entry.active))
            if entry.handoff is not None:
                self.handoffs += 1
                self.done[entry.handoff.id] = entry.version
            return
        if entry.active is not None and entry.active != self.active:
            raise Violation("P7", f"entry {entry.version} ({entry.kind}) names {entry.active} without a fence")
        if entry.seq:
            is_owners = entry.intent in ("progress", "finish")
            if is_owners and entry.device != self.active:
                raise Violation("P7", f"{entry.intent} of {entry.device} at {entry.version}; active is {self.active}")
            bodies = self.said.get((entry.device, entry.seq), [])
            if not any(
                fence in (None, self.fence) and (not is_owners or base >= self.fence_version) for base, fence in bodies
            ):
                raise Violation(
                    "P7",
                    f"{entry.intent} at {entry.version} was taken under fence {self.fence} since {self.fence_version}; "
                    f"{entry.device} said (base, fence) {bodies}",
                )

    def _judge_playhead(self, entry: Entry, was: Anchor, anchor: Anchor) -> None:
        if anchor == was:
            return
        if entry.kind == "patch" and entry.intent in ("edit", "open"):
            raise Violation("P10", f"{entry.intent} at {entry.version} moved the playhead")
        if entry.intent != "seek" and entry.kind != "restore" and anchor.position < was.position - GRAIN_S:
            raise Violation(
                "P10", f"{entry.kind} {entry.intent} at {entry.version} lowered {was.position:g} to {anchor.position:g}"
            )
        if entry.kind == "patch" and entry.intent == "progress":
            if anchor.at < was.at:
                raise Violation("P10", f"progress at {entry.version} goes back in time: {was.at} to {anchor.at}")
            sought, device = self.sought
            if device != entry.device and all(base < sought for base, _ in self.said[entry.device, entry.seq]):
                raise Violation(
                    "P10", f"progress at {entry.version} was made before {device or 'REST'} sought at {sought}"
                )
        elif entry.intent == "seek" or entry.kind == "restore":
            self.sought = (entry.version, entry.device if entry.seq else "")

    def _judge_undo(self, log: TrueLog, entry: Entry, before: JsonObject) -> None:
        """A conflict is taken back once, by what was lost in it; what that replaces is listed, whoever wrote it."""
        undoing = entry.undoes
        assert undoing is not None
        row = log.entry(undoing.version).conflicts[undoing.index]
        standing = standing_undo(undoings_in(log.entries[: entry.version - 1]), undoing.version, undoing.index)
        if standing is not None and standing[1].chosen == undoing.chosen:
            raise Violation("P5", f"entry {entry.version} takes back what {standing[0]} had taken back")
        path = str(row.get("path"))
        if path not in REGISTERS or not entry.ops:
            return
        now, wanted = value_at(log.states[entry.version], path), row.get(undoing.chosen, MISSING)
        if now != wanted:
            raise Violation("P6", f"entry {entry.version} takes back {row} and leaves {now!r}")
        if value_at(before, path) != entry.conflicts[0].get("theirs", MISSING):
            raise Violation("P6", f"entry {entry.version} replaces {value_at(before, path)!r}, which is in no list")

    def _judge_continuity(self, entry: Entry, was: Anchor, anchor: Anchor) -> None:
        source, note = self.active, entry.handoff
        if source is None or note is None or anchor.rate != was.rate:
            if anchor.rate != was.rate:
                raise Violation("P9", f"handoff at {entry.version} changed the rate {was.rate:g} to {anchor.rate:g}")
            return
        now, there = anchor.position_at(entry.at), was.position_at(entry.at)
        if self._sources.is_heard(source):
            if abs(now - there) > CONTINUITY_S:
                raise Violation("P9", f"handoff at {entry.version} from live {source}: {there:g} s became {now:g} s")
            return
        died_ms = self._sources.died_ms(source)
        if died_ms is None or was.at > died_ms or entry.at < died_ms:
            return  # it runs, or did so when this was decided, or somebody else moved the playhead after its death
        there = was.position_at(died_ms)
        bound_s = (note.uncertainty_ms + self._sources.transit_ms() * was.rate) / 1000 + GRAIN_S
        if note.uncertainty_ms and abs(now - there) > bound_s:
            raise Violation(
                "P9",
                f"handoff at {entry.version} from dead {source}: was at {there:g} s, is {now:g} s, "
                f"stated uncertainty {note.uncertainty_ms} ms",
            )


def _asked_in(entry: Entry) -> list[int]:
    """The edits over REST that this entry is; nobody sends one twice."""
    is_edit = entry.kind == "patch" and entry.undoes is None and not entry.seq
    return [op["value"] for op in entry.ops if is_edit and op["path"] == REST and "value" in op]
