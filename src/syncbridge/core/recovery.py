"""A log that moves by itself: other nodes append to it, and a store may lose its end.

Everything that is heard of the log from outside comes to one of four verdicts, whatever told it (a message of another
node, a look at the store's head, an answer to a commit):

========= ================================= =======================================================================
verdict   the sign                          what follows
========= ================================= =======================================================================
next      the versions after ours           adopted: members are told as on the node that committed them
missed    a version past the next one       read again, and what is new in it is adopted
lost      the store's head is below ours    put back from what is held here, under the same epoch and versions;
                                            then everything goes on, and no device notices
forked    another epoch, or other entries   read again whole; members get a snapshot, for what they hold is not the log
          at versions that we hold
========= ================================= =======================================================================

While a commit is in flight, or the log is being read, what is heard waits: the answer may already hold it, and often
the message of another node overtakes the answer to what stands before it.

Two logs are told apart by the transactions at their newest common version where both are known, else by the entries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from syncbridge import errors
from syncbridge.core import effects as do
from syncbridge.core import events as on
from syncbridge.core import handoff_news
from syncbridge.core.context import trim
from syncbridge.core.effects import AnyEffect
from syncbridge.core.entry import Entry
from syncbridge.core.log import SessionLog
from syncbridge.core.session_state import SessionState

if TYPE_CHECKING:
    from syncbridge.core.session import SessionMachine

SEEN_WAITING_MAX = 32
"""Messages that wait for a commit's answer; an older one gives way, and its entries are read from the log."""


# -- what other nodes tell --------------------------------------------------------------------------------------


def _on_entries_seen(machine: SessionMachine, event: on.EntriesSeen, now_ms: int) -> list[AnyEffect]:
    if not event.entries:
        return []
    machine.seen.append(event)
    return heed(machine, now_ms)


def heed(machine: SessionMachine, now_ms: int) -> list[AnyEffect]:
    """What was heard meanwhile is judged, unless something is under way still."""
    said: list[AnyEffect] = []
    while machine.seen and machine.state is SessionState.LIVE and machine.batch is None:
        event = machine.seen.popleft()
        log = machine.log
        assert log is not None
        if event.epoch != log.epoch or _is_fork(log, event):
            said += read_again(machine)
        else:
            said += adopt(machine, event.entries, event.digests, [event.txn] * len(event.entries), now_ms)
    return said


def _is_fork(log: SessionLog, event: on.EntriesSeen) -> bool:
    """One of these entries, or the one before them, stands otherwise in our log; none is judged that we forgot."""
    first = event.entries[0].version
    if first == log.version + 1:
        return event.previous_at not in (0, log.updated_at)
    for entry in reversed(event.entries):
        held = log.entry(entry.version)
        if held is not None:
            known = log.txns.get(entry.version, "")
            return known != event.txn if known and event.txn else held != entry
    return False


def adopt(
    machine: SessionMachine, entries: list[Entry], digests: list[int], txns: Sequence[str], now_ms: int
) -> list[AnyEffect]:
    """What others committed is in the log, and members are told; where there is a gap, the log is read again.

    ``txns`` in step with the entries, or empty: where nothing shares the log, none is asked for.
    """
    log, members = machine.log, machine.members
    assert log is not None
    said: list[AnyEffect] = []
    there = members.receivers()
    run: list[Entry] = []
    is_gap = False
    before = log.version
    for entry, digest, txn in zip(entries, digests, txns or [""] * len(entries), strict=True):
        version = entry.version
        if version != log.version + 1:
            if version <= log.version:
                continue
            is_gap = True
            break
        offer = log.offer
        try:
            log.append(entry, digest)
        except errors.PatchError:
            is_gap = True  # it was sound where it was committed: it follows another state than ours
            break
        if txn:
            log.txns[version] = txn
        run.append(entry)
        if entry.handoff is None and offer is None:
            continue
        if entry.kind == "offer" and entry.handoff is not None:
            log.count_offer(now_ms, left_ms=entry.handoff.expires_at - entry.at)
        news = handoff_news.of_adopted(log, members, entry, offer)
        if news:
            said += [do.Deliver(run, there), *news] if there else news
            run = []
    machine.since_snapshot += log.version - before
    if run and there:
        said.append(do.Deliver(run, there))
    trim(log, machine.kind.policies)
    members.advance(log.version)
    return said + read_again(machine) if is_gap else said


def _on_head_seen(machine: SessionMachine, event: on.HeadSeen, now_ms: int) -> list[AnyEffect]:
    log = machine.log
    if log is None or machine.state is not SessionState.LIVE or machine.batch is not None:
        return []  # what is under way is answered by the same store
    if event.version and (event.epoch != log.epoch or event.version > log.version):
        return read_again(machine)
    return put_back(machine) if event.version < log.version else []


# -- reading again ----------------------------------------------------------------------------------------------


def read_again(machine: SessionMachine) -> list[AnyEffect]:
    """All waits until the log was read; no batch is in flight."""
    machine.state = SessionState.LOADING
    return [do.Load()]


def goes_on(old: SessionLog, new: SessionLog) -> bool:
    """``new`` is ``old`` and what came since, and its entries reach back to the head of ``old``."""
    at = old.version
    if new.epoch != old.epoch or not new.floor <= at <= new.version:
        return False
    held, read = old.entry(at), new.entry(at)
    return (held is None or read is None or held == read) and new.state_at(at) == old.state


# -- putting back -----------------------------------------------------------------------------------------------


def put_back(machine: SessionMachine) -> list[AnyEffect]:
    """The store is given what is committed as far as it is held here; all waits for its answer."""
    log, batch = machine.log, machine.batch
    assert log is not None
    machine.state = SessionState.MENDING
    mark = log.mark() if batch is None else batch.mark
    entries = [entry for entry in log.entries if entry.version <= mark.version]
    txns = [log.txns.get(entry.version, "") for entry in entries]
    return [do.PutBack(log.snapshot(mark), entries, log.digests_up_to(mark.version), txns, log.floor_at)]


def _on_put_back_done(machine: SessionMachine, event: on.PutBackDone, now_ms: int) -> list[AnyEffect]:
    log, batch = machine.log, machine.batch
    if machine.state is not SessionState.MENDING or log is None:
        return []
    machine.state = SessionState.LIVE
    machine.backoff_ms = 0
    if batch is not None and batch.txn is not None:
        return [do.Commit(batch.txn)]  # the very same: an earlier copy of it may be on its way yet
    said = heed(machine, now_ms)
    if machine.state is SessionState.LIVE and event.version > log.version:
        said += read_again(machine)
    return said + machine.go_on(now_ms)


def _on_put_back_failed(machine: SessionMachine, event: on.PutBackFailed, now_ms: int) -> list[AnyEffect]:
    if machine.state is not SessionState.MENDING:
        return []
    if event.code == "unavailable":
        said = machine.give_up(now_ms) if machine.batch is None else []
        return [*said, do.SetTimer("recover", now_ms + machine.back_off())]
    if machine.batch is not None:
        machine.take_back()
    machine.is_forked = event.code == "forked"
    return read_again(machine)


def on_timer(machine: SessionMachine) -> list[AnyEffect]:
    """The store is asked again, where an answer is still wanted.

    What could not be read may be lost: a store that waits for whoever holds it must not wait for us in vain.
    """
    is_held = machine.log is not None and not machine.is_forked
    if machine.state is SessionState.MENDING or (machine.state is SessionState.LOADING and is_held):
        return put_back(machine)
    return read_again(machine) if machine.state is SessionState.LOADING else []


HANDLERS: dict[type, Callable[[SessionMachine, Any, int], list[AnyEffect]]] = {
    on.EntriesSeen: _on_entries_seen,
    on.HeadSeen: _on_head_seen,
    on.PutBackDone: _on_put_back_done,
    on.PutBackFailed: _on_put_back_failed,
}
