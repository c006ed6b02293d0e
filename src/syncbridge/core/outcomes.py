"""The store's answers: what a session does when its log was read, and when a commit went through or did not.

============== ===================================================================================================
answer         what the machine does
============== ===================================================================================================
Committed      says what the batch earned: acks, entries, joins, replies, in the order of the queue
Conflicted     takes the batch back, adopts what others committed, says what needs no more than that, works the same
               queue again (bounded)
OutcomeUnknown submits the very same transaction again, after a while that doubles
EpochChanged   takes the batch back and loads the log again; where it is another one, members get a snapshot
FellBehind     puts back what the store lost (`core.recovery`), then submits the very same transaction again
Fenced         takes the batch back, lets go of connections whose devices went to another node, works the rest again
============== ===================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from syncbridge import errors
from syncbridge.core import attendance
from syncbridge.core import effects as do
from syncbridge.core import events as on
from syncbridge.core.answers import ASKED_BY_MEMBERS, error_about
from syncbridge.core.batch import Batch
from syncbridge.core.context import trim
from syncbridge.core.effects import AnyEffect
from syncbridge.core.log import SessionLog
from syncbridge.core.messages import Left
from syncbridge.core.recovery import adopt, goes_on, heed, put_back, read_again
from syncbridge.core.session_state import SessionState

if TYPE_CHECKING:
    from syncbridge.core.session import SessionMachine


_NEVER_RACE = frozenset({on.ReadRequested})
"""They are answered by the first word of the store."""


def _on_loaded(machine: SessionMachine, event: on.Loaded, now_ms: int) -> list[AnyEffect]:
    if machine.state is not SessionState.LOADING:
        return []
    log = SessionLog(event.snapshot, machine.limits)
    txns = event.txns or [""] * len(event.entries)
    try:
        for entry, digest in zip(event.entries, event.digests, strict=True):
            if entry.version != log.version + 1:
                raise errors.StateDamaged(f"entry {entry.version} follows {log.version}")
            log.append(entry, digest)
        # Of what this node puts back one day the store must know the repeats, whoever committed it.
        log.txns = {entry.version: txn for entry, txn in zip(event.entries, txns, strict=True) if txn}
    except errors.SyncBridgeError:
        return _on_load_failed(machine, on.LoadFailed(errors.StateDamaged.code), now_ms)
    log.trim()
    old, machine.state = machine.log, SessionState.LIVE
    machine.waits_since_ms = now_ms  # for the log; the wait for a commit begins here
    is_forked, machine.is_forked = machine.is_forked, False
    is_behind = old is not None and machine.is_shared and log.epoch == old.epoch and log.version < old.version
    if is_behind and not is_forked:
        return put_back(machine)  # refused as forked once, it would be for ever: then the store's log is the one
    if old is not None and goes_on(old, log):
        known = sum(entry.version <= old.version for entry in event.entries)
        before = old.offer
        said = adopt(machine, event.entries[known:], event.digests[known:], txns[known:], now_ms)
        if old.offer is not None and old.offer != before:
            old.count_offer(now_ms, event.offer_left_ms)
            said.append(do.SetTimer("offer", old.offer_ends_at))
    else:
        log.count_offer(now_ms, event.offer_left_ms)
        said = _replace(machine, log, now_ms)
        machine.since_snapshot = len(event.entries)
    return said + heed(machine, now_ms) + machine.go_on(now_ms)


def _replace(machine: SessionMachine, log: SessionLog, now_ms: int) -> list[AnyEffect]:
    """The log is this one from now on; what members hold of another one is void, and they are caught up."""
    old, machine.log = machine.log, log
    machine.kind = machine.types.get(log.kind) or machine.types["custom"]
    reason = "epoch"
    if old is not None and old.epoch == log.epoch and old.version < log.floor:
        # So much was missed that nothing contradicts ours: what devices had made is no less true.
        log.works, reason = old.works, "missed"
    elif old is not None:
        machine.members.forget_positions(is_renamed=old.epoch != log.epoch)
    said: list[AnyEffect] = []
    for connection in list(machine.members.by_connection):
        said += Batch(machine, log, now_ms).catch_up(connection, reason)
    if log.offer is not None:
        said.append(do.SetTimer("offer", log.offer_ends_at))
    return said


def _on_load_failed(machine: SessionMachine, event: on.LoadFailed, now_ms: int) -> list[AnyEffect]:
    if machine.state is not SessionState.LOADING:
        return []
    fault = errors.by_code()[event.code]()
    said: list[AnyEffect] = []
    if isinstance(fault, errors.Unavailable) and machine.log is not None and machine.is_shared:
        # Nothing that members hold is in doubt for it: they stay, and what they ask is answered meanwhile.
        return [*machine.give_up(now_ms), do.SetTimer("recover", now_ms + machine.back_off())]
    waiting: list[Any] = list(machine.queue)
    machine.queue.clear()
    for event_ in waiting:
        if isinstance(fault, errors.NotFound) and _is_unjoined(machine, event_):
            said.append(do.Send(event_.connection, error_about(errors.NotJoined(), event_, machine.session)))
        else:
            said += machine.refuse(event_, fault)
    return said + machine.end(fault.code)


def _is_unjoined(machine: SessionMachine, event: Any) -> bool:
    """It takes a member to ask this, and that is none: answered as where the session is somebody else's."""
    return type(event) in ASKED_BY_MEMBERS and event.connection not in machine.members.by_connection


def _on_committed(machine: SessionMachine, event: on.Committed, now_ms: int) -> list[AnyEffect]:
    batch, log = machine.batch, machine.log
    if batch is None or batch.txn is None or batch.txn.id != event.txn or log is None:
        return []
    machine.batch = None
    machine.lost_races = machine.backoff_ms = 0
    if machine.joining:
        machine.joining.difference_update(batch.joined_by)
    trim(log, machine.kind.policies)
    if machine.is_shared:
        for entry in batch.entries:
            log.txns[entry.version] = event.txn
    said = batch.said()
    if machine.seen:
        said += heed(machine, now_ms)
    return said + machine.go_on(now_ms)


def _on_conflicted(machine: SessionMachine, event: on.Conflicted, now_ms: int) -> list[AnyEffect]:
    batch = machine.batch
    if batch is None or batch.txn is None or batch.txn.id != event.txn:
        return []
    again = machine.take_back()
    said: list[AnyEffect] = adopt(machine, event.entries, event.digests, event.txns, now_ms)
    said += heed(machine, now_ms)
    if batch.is_appending:
        return _race_lost(machine, now_ms, said, again)
    if machine.state is SessionState.LIVE:
        # Asked before the store was: what it answered is as new as any of them may expect.
        said = [do.Measured("retry", 1), *said, *machine.work_known(again, now_ms)]
    return said + machine.go_on(now_ms)


def _race_lost(machine: SessionMachine, now_ms: int, said: list[AnyEffect], known: int = 0) -> list[AnyEffect]:
    """The same queue is worked again, unless that was tried too often in a row; ``said`` is what goes before.

    Of the first ``known`` those go before that need not race: see `SessionMachine.work_known`.
    """
    machine.lost_races += 1
    said = [do.Measured("retry", machine.lost_races), *said]
    if machine.state is not SessionState.LIVE:
        return said
    said += machine.work_known(known, now_ms, only=_NEVER_RACE)
    if machine.lost_races > machine.limits.retry_conflicts_max:
        machine.lost_races = 0
        said += machine.give_up(now_ms, but=_NEVER_RACE)
    return said + machine.go_on(now_ms)


def _on_fenced(machine: SessionMachine, event: on.Fenced, now_ms: int) -> list[AnyEffect]:
    """The devices went to another connection. Whoever is still on the old one is told, and may join once more.

    That is no closing for good: a claim that took effect late may have fenced out the connection that is in use.
    """
    batch = machine.batch
    if batch is None or batch.txn is None or batch.txn.id != event.txn:
        return []
    held = [batch.txn.held[device] for device in event.devices if device in batch.txn.held]
    batch.gone.update(held)
    machine.take_back()
    said: list[AnyEffect] = []
    for connection in held:
        said += attendance.leave(machine, connection, heard_at=batch.now_ms, cause="device_replaced")
        said += [do.Send(connection, Left(machine.session, errors.Unavailable.code)), do.DropMember(connection)]
    return _race_lost(machine, now_ms, said)


def _on_unknown(machine: SessionMachine, event: on.OutcomeUnknown, now_ms: int) -> list[AnyEffect]:
    if machine.batch is None or machine.batch.txn is None or machine.batch.txn.id != event.txn:
        return []
    return [do.SetTimer("resubmit", now_ms + machine.back_off())]


def _on_epoch_changed(machine: SessionMachine, event: on.EpochChanged, now_ms: int) -> list[AnyEffect]:
    if machine.batch is None or machine.batch.txn is None or machine.batch.txn.id != event.txn:
        return []
    machine.take_back()
    return read_again(machine)


def _on_fell_behind(machine: SessionMachine, event: on.FellBehind, now_ms: int) -> list[AnyEffect]:
    if machine.batch is None or machine.batch.txn is None or machine.batch.txn.id != event.txn:
        return []
    return put_back(machine)


def on_store_silent(machine: SessionMachine, now_ms: int) -> list[AnyEffect]:
    """Whoever waits longer than `store_timeout_ms` is answered `unavailable`, however many commits it waits for.

    What is in flight may yet take effect: a push that is sent again is applied once.
    """
    batch, timeout_ms = machine.batch, machine.limits.store_timeout_ms
    if batch is None:
        machine.is_watching = False
        return []
    if not batch.is_refused and now_ms < batch.since_ms + timeout_ms:
        return [do.SetTimer("store", batch.since_ms + timeout_ms)]
    said: list[AnyEffect] = []
    if not batch.is_refused:
        batch.is_refused = True
        for event in batch.events:
            said += machine.refuse(event, errors.Unavailable())
    said += machine.give_up(now_ms)
    return [*said, do.SetTimer("store", now_ms + timeout_ms)]


HANDLERS: dict[type, Callable[[SessionMachine, Any, int], list[AnyEffect]]] = {
    on.Loaded: _on_loaded,
    on.LoadFailed: _on_load_failed,
    on.Committed: _on_committed,
    on.Conflicted: _on_conflicted,
    on.OutcomeUnknown: _on_unknown,
    on.EpochChanged: _on_epoch_changed,
    on.Fenced: _on_fenced,
    on.FellBehind: _on_fell_behind,
}
