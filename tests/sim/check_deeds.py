"""What became of what people did: judged when all is calm, from each deed and the log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from syncbridge.client.pending import Row
from syncbridge.core.entry import Entry
from tests.sim.deeds import MISSING, Deed, value_at
from tests.sim.truth import TrueLog
from tests.sim.world import Violation


def check_order(deeds: Iterable[Deed]) -> None:
    """P1: no two deeds are one entry; what was done after an ack arrived stands after it."""
    acked = sorted((deed for deed in deeds if deed.version), key=lambda deed: deed.version)
    last: Deed | None = None
    for deed in acked:
        if last is not None and last.version == deed.version:
            raise Violation("P1", f"entry {deed.version} was acknowledged to two deeds: {last} {deed}")
        last = deed
    # Walking down the log: nothing above may have been acknowledged before this one was made.
    earliest_ack_ms, earliest = 1 << 62, 0
    for deed in reversed(acked):
        if earliest_ack_ms < deed.made_ms:
            raise Violation("P1", f"entry {earliest} was acknowledged before the deed of {deed.version} was done")
        if deed.acked_ms < earliest_ack_ms:
            earliest_ack_ms, earliest = deed.acked_ms, deed.version


def check_counters(log: TrueLog, deeds: Iterable[Deed], paths: Iterable[str]) -> None:
    """P5: each counter is the sum of what was acknowledged, no more and no less."""
    for path in paths:
        # What a restore or an undo took from it, or gave to it, is asked for by somebody who knows.
        sums: dict[str, int] = {}
        for entry in log.entries:
            if _goes_back(entry):
                was, became = (value_at(log.states[at], path) for at in (entry.version - 1, entry.version))
                sums["REST"] = sums.get("REST", 0) + _number(became) - _number(was)
        for deed in deeds:
            if deed.path == path and deed.version:
                sums[deed.device] = sums.get(deed.device, 0) + deed.amount
        total, stands = sum(sums.values()), value_at(log.state, path)
        if stands != total:
            raise Violation("P5", f"{path} is {stands}; acknowledged were {total}: {sums}")


def _goes_back(entry: Entry) -> bool:
    return entry.kind == "restore" or entry.undoes is not None


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def check_deed(log: TrueLog, deed: Deed, local: list[Row]) -> None:
    """P6: an acknowledged deed shows in the state it led to, or is listed; what it overwrote unseen is listed."""
    if not deed.version:
        if deed.what != "counter" and not any(row.get("code") for row in local) and deed.code:
            raise Violation("P6", f"{deed} was refused and is in no list of its device")
        return
    entry = log.entry(deed.version)
    if entry.device != deed.device:
        raise Violation("P5", f"{deed} was acknowledged as entry {deed.version}, which is of {entry.device}")
    before, after = log.states[deed.version - 1], log.states[deed.version]
    # What is to last, lasts until somebody goes back.
    last = next((later.version - 1 for later in log.entries[deed.version :] if _goes_back(later)), log.version)
    end = log.states[last]
    rows = [*entry.conflicts, *deed.rows, *local]
    match deed.what:
        case "register":
            _check_register(deed, value_at(before, deed.path), value_at(after, deed.path), rows)
        case "tag":
            if deed.value not in after["tags"] and not _is_listed(rows, "ours", deed.value):
                raise Violation("P6", f"{deed} is not in the set it led to")
        case "mark":
            count = sum(mark.get("id") == deed.value for mark in end["marks"])
            if count != 1:
                raise Violation("P6", f"{deed} stands {count} times at the end")
        case "best":
            # One that lost to a higher one, from which somebody had gone back when it came, is in a list. One that
            # met its equal had lost nothing to it.
            is_lost = value_at(end, deed.path) < deed.value
            went_back = any(_goes_back(one) for one in log.entries[: deed.version - 1])
            met_equal = any(value_at(state, deed.path) == deed.value for state in log.states[1 : deed.version])
            if is_lost and not (went_back and (met_equal or _is_listed(rows, "ours", deed.value))):
                raise Violation("P6", f"{deed}: the best fell to {value_at(end, deed.path)}")
        case "insert" | "remove" | "swap":
            if deed.what != "remove" or not _came_back(log, deed):
                _check_list(deed, entry, before["list"], after["list"], rows)


def _came_back(log: TrueLog, deed: Deed) -> bool:
    """Somebody had removed the item before this deed came, and somebody had gone back from that."""
    return any(
        _goes_back(entry)
        and entry.at >= deed.made_ms
        and deed.value in log.states[entry.version]["list"]
        and deed.value not in log.states[entry.version - 1]["list"]
        for entry in log.entries[: deed.version - 1]
    )


def _check_register(deed: Deed, before: Any, after: Any, rows: list[Row]) -> None:
    if after != deed.value:
        if not _is_listed(rows, "ours", deed.value):
            raise Violation("P6", f"{deed} lost to {after!r} and is in no list")
    elif before not in (deed.seen, MISSING) and not _is_listed(rows, "theirs", before):
        writer = str(before).split(".")[0]
        if writer != deed.device:
            raise Violation("P6", f"{deed} overwrote {before!r} unseen, and it is in no list")


def _check_list(deed: Deed, entry: Entry, before: list[Any], after: list[Any], rows: list[Row]) -> None:
    meant = {deed.value} if deed.what == "remove" else {deed.seen} if deed.what == "swap" else set()
    for item in before:
        if item not in after and item not in meant and not _is_listed(rows, "theirs", item):
            raise Violation("P6", f"entry {entry.version} removed {item!r}, which {deed} did not mean")
    if deed.what != "remove" and deed.value not in after and not _is_listed(rows, "ours", deed.value):
        raise Violation("P6", f"{deed} is not in the list it led to: {after}")
    if deed.what == "remove" and deed.value in after and not rows:
        raise Violation("P6", f"{deed} left its item in the list")
    if _doubled(after) > _doubled(before):
        raise Violation("P5", f"entry {entry.version} doubled an item: {after}")


def _doubled(items: list[Any]) -> int:
    return len(items) - len(set(map(str, items)))


def _is_listed(rows: list[Row], side: str, value: Any) -> bool:
    for row in rows:
        held = row.get(side)
        if held == value or (isinstance(held, list | dict) and str(value) in str(held)):
            return True
    return False
