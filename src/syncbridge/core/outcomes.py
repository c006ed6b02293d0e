"""The store's answers: what a session does when its log was read, and when a commit went through or did not.

============== ===================================================================================================
answer         what the machine does
============== ===================================================================================================
Committed      says what the batch earned: acks, entries, joins, replies, in the order of the queue
Conflicted     takes the batch back, adopts what others committed, works the same queue again (bounded)
OutcomeUnknown submits the very same transaction again, after a while that doubles
EpochChanged   takes the batch back and loads the log again; members get a snapshot
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
from syncbridge.core.effects import AnyEffect
from syncbridge.core.log import SessionLog
from syncbridge.core.messages import Left
from syncbridge.core.recovery import adopt
from syncbridge.core.session_state import SessionState

if TYPE_CHECKING:
    from syncbridge.core.session import SessionMachine


def _on_loaded(machine: SessionMachine, event: on.Loaded, now_ms: int) -> list[AnyEffect]:
    if machine.state is not SessionState.LOADING:
        return []
    log = SessionLog(event.snapshot, machine.limits)
    try:
        for entry, digest in zip(event.entries, event.digests, strict=True):
            if entry.version != log.version + 1:
                raise errors.StateDamaged(f"entry {entry.version} follows {log.version}")
            log.append(entry, digest)
    except errors.SyncBridgeError:
        return _on_load_failed(machine, on.LoadFailed(errors.StateDamaged.code), now_ms)
    log.trim()
    is_same_log = machine.log is not None and machine.log.epoch == log.epoch
    if machine.log is not None and is_same_log:
        log.works = machine.log.works  # what devices had made is no less true of the log read again
    elif machine.log is not None:
        machine.members.forget_positions()
    machine.log = log
    machine.kind = machine.types.get(log.kind) or machine.types["custom"]
    machine.state = SessionState.LIVE
    machine.since_snapshot = len(event.entries)
    said: list[AnyEffect] = []
    for connection in list(machine.members.by_connection):
        said += Batch(machine, log, now_ms).catch_up(connection, "missed" if is_same_log else "epoch")
    if log.offer is not None:
        said.append(do.SetTimer("offer", log.offer.expires_at))
    return said + (machine.pump(now_ms) if machine.queue else machine.rest(now_ms))


def _on_load_failed(machine: SessionMachine, event: on.LoadFailed, now_ms: int) -> list[AnyEffect]:
    if machine.state is not SessionState.LOADING:
        return []
    fault = errors.by_code()[event.code]()
    said: list[AnyEffect] = []
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
    machine.joining.difference_update(batch.joined_by)
    log.trim()
    said = batch.said()
    said += machine.pump(now_ms) if machine.queue else machine.rest(now_ms)
    return said


def _on_conflicted(machine: SessionMachine, event: on.Conflicted, now_ms: int) -> list[AnyEffect]:
    batch = machine.batch
    if batch is None or batch.txn is None or batch.txn.id != event.txn:
        return []
    machine.take_back()
    said: list[AnyEffect] = adopt(machine, event.entries, event.digests)
    return _race_lost(machine, now_ms, said)


def _race_lost(machine: SessionMachine, now_ms: int, said: list[AnyEffect]) -> list[AnyEffect]:
    """The same queue is worked again, unless that was tried too often in a row; ``said`` is what goes before."""
    machine.lost_races += 1
    said = [do.Measured("retry", machine.lost_races), *said]
    if machine.state is not SessionState.LIVE:
        return said
    if machine.lost_races > machine.limits.retry_conflicts_max:
        machine.lost_races = 0
        said += machine.give_up()
    return said + machine.pump(now_ms)


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
    limits = machine.limits
    machine.backoff_ms = min(max(limits.retry_first_ms, machine.backoff_ms * 2), limits.retry_last_ms)
    return [do.SetTimer("resubmit", now_ms + machine.backoff_ms)]


def _on_epoch_changed(machine: SessionMachine, event: on.EpochChanged, now_ms: int) -> list[AnyEffect]:
    if machine.batch is None or machine.batch.txn is None or machine.batch.txn.id != event.txn:
        return []
    machine.take_back()
    machine.state = SessionState.LOADING
    machine.members.hold()
    return [do.Load()]


def on_store_silent(machine: SessionMachine, now_ms: int) -> list[AnyEffect]:
    """Whoever waits longer than `store_timeout_ms` for a commit is answered `unavailable`; the commit may yet work."""
    batch, timeout_ms = machine.batch, machine.limits.store_timeout_ms
    if batch is None:
        machine.is_watching = False
        return []
    if now_ms - batch.now_ms < timeout_ms:
        return [do.SetTimer("store", batch.now_ms + timeout_ms)]
    said: list[AnyEffect] = []
    for event in batch.events:
        if not isinstance(event, on.MemberJoined):
            said += machine.refuse(event, errors.Unavailable())
    said += machine.give_up()
    return [*said, do.SetTimer("store", now_ms + timeout_ms)]


HANDLERS: dict[type, Callable[[SessionMachine, Any, int], list[AnyEffect]]] = {
    on.Loaded: _on_loaded,
    on.LoadFailed: _on_load_failed,
    on.Committed: _on_committed,
    on.Conflicted: _on_conflicted,
    on.OutcomeUnknown: _on_unknown,
    on.EpochChanged: _on_epoch_changed,
    on.Fenced: _on_fenced,
}
