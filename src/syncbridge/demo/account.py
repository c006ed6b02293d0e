"""The final account: what was said, what is in the state, and whether every promise was kept. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from syncbridge.demo.orders import Edit, Summary

HANDOFF_MS_MAX = 100.0
PLAYHEAD_MS_MAX = 20.0


class Handoff(msgspec.Struct, frozen=True):
    """One handoff as it was measured. ``is_live``: the source was there; else ``uncertainty_ms`` is what was stated.

    ``error_ms`` is the largest distance of any device's playhead from the true one right after it.
    """

    how: str
    source: str
    target: str
    latency_ms: float
    error_ms: float
    is_live: bool = True
    uncertainty_ms: int = 0


class Tally(msgspec.Struct, frozen=True):
    """Updates over all devices. ``lost`` and ``doubled`` are counted in the state itself."""

    sent: int
    acknowledged: int
    refused: int
    unanswered: int
    lost: int
    doubled: int
    missing: list[str] = []
    """Which were lost: "mark demo-tv-3", "2 breaths"."""


class Account(msgspec.Struct, frozen=True):
    """Everything that the last page shows."""

    handoffs: list[Handoff]
    tally: Tally
    conflicts: list[dict[str, Any]]
    hashes: dict[str, str]
    broken: list[str]


def tally(edits: list[Edit], state: dict[str, Any], breaths_before: int = 0) -> Tally:
    """Every acknowledged edit against the state.

    A heart rate and a mark is there once, found by its name. Breaths are a counter, so that the number of those
    acknowledged is what it must show. Other edits (settings, notes, the playhead) replace values; who won is in the
    conflicts, and they count as sent and answered.
    """
    acknowledged = [edit for edit in edits if edit.version]
    there = {
        "heart": Counter(str(sample["at"]) for sample in state["heart_rate"]),
        "mark": Counter(str(mark["id"]) for mark in state["marks"]),
    }
    missing: list[str] = []
    doubled = 0
    for kind, found in there.items():
        asked = {edit.name for edit in acknowledged if edit.kind == kind}
        missing += [f"{kind} {name}" for name in sorted(asked - found.keys())]
        doubled += sum(count - 1 for count in found.values())
    breaths = sum(edit.kind == "breath" for edit in acknowledged)
    counted = state["totals"].get("breaths", 0) - breaths_before
    lost = len(missing) + max(0, breaths - counted)
    if breaths > counted:
        missing.append(f"{breaths - counted} breaths")
    refused = sum(bool(edit.refused) for edit in edits)
    return Tally(
        sent=len(edits),
        acknowledged=len(acknowledged),
        refused=refused,
        unanswered=len(edits) - len(acknowledged) - refused,
        lost=lost,
        doubled=doubled + max(0, counted - breaths),
        missing=missing,
    )


def conflicts(summaries: list[Summary]) -> list[dict[str, Any]]:
    """The rows of all devices, each once, in the order met."""
    seen: dict[bytes, dict[str, Any]] = {}
    for summary in summaries:
        for row in summary.conflicts:
            # A device's own answer says no version, the entry does; what was decided is the same.
            decided = {name: row.get(name) for name in ("path", "policy", "winner", "ours", "theirs", "device")}
            seen.setdefault(msgspec.json.encode(decided, order="sorted"), row)
    return list(seen.values())


def broken(handoffs: list[Handoff], counted: Tally, hashes: dict[str, str]) -> list[str]:
    """A sentence for each promise that was not kept; none when all were."""
    found = []
    if counted.lost:
        found.append(f"nothing acknowledged is lost: not in the state: {', '.join(counted.missing)}")
    if counted.doubled:
        found.append(f"each update takes effect once: {counted.doubled} took effect again")
    if counted.unanswered:
        found.append(f"every update is answered: {counted.unanswered} were not")
    if len(set(hashes.values())) > 1:
        told = ", ".join(f"{name} {digest[:8]}" for name, digest in hashes.items())
        found.append(f"all devices converge: the states differ ({told})")
    for handoff in handoffs:
        way = f"{handoff.how} {handoff.source} -> {handoff.target}"
        if handoff.latency_ms > HANDOFF_MS_MAX:
            found.append(f"a handoff takes at most {HANDOFF_MS_MAX:g} ms: {way} took {handoff.latency_ms:.1f} ms")
        error_max_ms = PLAYHEAD_MS_MAX if handoff.is_live else PLAYHEAD_MS_MAX + handoff.uncertainty_ms
        if handoff.error_ms > error_max_ms:
            found.append(f"the playhead goes on within {error_max_ms:g} ms: {way} is {handoff.error_ms:.1f} ms off")
    return found
