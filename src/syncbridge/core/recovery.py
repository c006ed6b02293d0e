"""A log that moves by itself: what other nodes committed is adopted, and what was missed is read again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from syncbridge.core import effects as do
from syncbridge.core import events as on
from syncbridge.core.effects import AnyEffect
from syncbridge.core.session_state import SessionState

if TYPE_CHECKING:
    from syncbridge.core.session import SessionMachine


def _on_entries_seen(machine: SessionMachine, event: on.EntriesSeen, now_ms: int) -> list[AnyEffect]:
    if machine.state is not SessionState.LIVE or machine.batch is not None:
        return []  # the commit's own answer, or the load, tells
    return adopt(machine, event.entries, event.digests)


def adopt(machine: SessionMachine, entries: list[Any], digests: list[int]) -> list[AnyEffect]:
    """Entries that others committed; a gap means that the log must be read again."""
    log = machine.log
    assert log is not None
    fresh = []
    for entry, digest in zip(entries, digests, strict=True):
        if entry.version <= log.version:
            continue
        if entry.version != log.version + 1:
            machine.state = SessionState.LOADING
            machine.members.hold()
            return [do.Load()]
        log.append(entry, digest)
        fresh.append(entry)
    log.trim()
    machine.since_snapshot += len(fresh)
    there = machine.members.receivers()
    machine.members.advance(log.version)
    said: list[AnyEffect] = [do.Deliver(fresh, there)] if fresh and there else []
    if log.offer is not None and fresh:
        said.append(do.SetTimer("offer", log.offer.expires_at))
    return said


HANDLERS: dict[type, Callable[[SessionMachine, Any, int], list[AnyEffect]]] = {on.EntriesSeen: _on_entries_seen}
