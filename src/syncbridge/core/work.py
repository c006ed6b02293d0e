"""What each event that needs the head comes to: one worker an event, run inside a `Batch`.

A worker may run again for the same event, when its batch was taken back: it looks at nothing but the log, the
members and the ledger, and changes them only through the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from syncbridge import errors
from syncbridge.core import events as on
from syncbridge.core import handoff_news, work_conflicts, work_handoffs, work_requests
from syncbridge.core.admission import Change, admit
from syncbridge.core.answers import error_about
from syncbridge.core.batch import Batch
from syncbridge.core.context import work_of
from syncbridge.core.effects import DropMember, Measured, Noted, Present, ReadRoster, Send
from syncbridge.core.entry import Entry
from syncbridge.core.members import Member
from syncbridge.core.messages import Ack, Push, Reject, ServerMessage

SKEW_MS_MAX = 2_000
"""A stamp this far ahead is no jitter of an estimate: the device never asked for our time, or did not believe it."""

# -- pushes -----------------------------------------------------------------------------------------------------


def push(batch: Batch, event: on.PushReceived) -> None:
    """A device's change: settled before, out of order, or judged now."""
    machine, log, message = batch.machine, batch.log, event.message
    device, seq = event.device, message.seq
    member = machine.members.by_connection.get(event.connection)
    if member is None:
        batch.say(Send(event.connection, error_about(errors.NotJoined(), event, log.session)))
        return
    if message.at is not None and not member.is_skew_told:
        _note_skew(batch, message.at, member)
    expected = machine.ledger.expected(device, log.last_seq(device))
    if seq < expected:
        batch.answer(Send(event.connection, _settled(batch, event)))
        return
    if seq > expected:
        gap = errors.SeqGap(f"push {seq} came, but {expected} is next; send {expected} first")
        batch.answer(Send(event.connection, _reject(batch, event, gap, expected_seq=expected)))
        return
    limits = machine.limits
    try:
        if member.is_astray or (message.epoch is not None and message.epoch != log.epoch):
            raise errors.EpochUnknown
        if message.intent == "open":
            if message.ops:
                raise errors.OpenReadonly
            ack = Ack(message.session, seq, log.version, batch.now_ms)
            machine.ledger.settle(device, seq, event.digest, ack, limits.inflight_max)
            batch.answer(Send(event.connection, ack))
            return
        if message.settled is not None and machine.ledger.has_refused(device, message.settled, seq):
            raise errors.ContextRefused
        change = Change(device, seq, message.base, message.ops, message.intent, message.at, message.fence, member.since)
        verdict = admit(log, change, machine.kind, limits, batch.now_ms)
    except errors.ClientFault as fault:
        reject = _reject(batch, event, fault)
        machine.ledger.settle(device, seq, event.digest, reject, limits.inflight_max)
        batch.answer(Send(event.connection, reject))
        if _was_made_offline(batch, message):
            batch.effects.append(Measured("offline_sync", 1, "lost"))
        return
    entry = verdict.entry
    batch.append(entry, digest=event.digest, state=verdict.state, size=verdict.size, but=event.connection)
    work = work_of(log, device, entry.version, change.base, change.ops, verdict.queue)
    log.remember(device, work, is_as_made=verdict.is_as_made)
    if machine.is_shared:
        batch.held[device] = event.connection
    batch.answer(Send(event.connection, _ack(event, entry)))
    for row in entry.conflicts:
        batch.effects.append(Measured("conflict", 1, str(row.get("policy", ""))))
    if _was_made_offline(batch, message):
        batch.effects.append(Measured("offline_sync", 1, "kept"))
    work_handoffs.tell_ended(batch)


def _was_made_offline(batch: Batch, message: Push) -> bool:
    """It was made longer ago than any live link takes; a report of progress is not anybody's work."""
    at = message.at
    return at is not None and message.intent != "progress" and batch.now_ms - at > batch.machine.limits.heartbeat_ms


def _note_skew(batch: Batch, at: int, member: Member) -> None:
    """A device whose stamps cannot be ours is noted, once while it follows; nothing else comes of it.

    Ahead: it stamps the future. Behind: it was here all the time since, and yet the push is that old. Of one that was
    away meanwhile nobody can tell a slow clock from an old edit.
    """
    off_ms = at - batch.now_ms
    if off_ms > SKEW_MS_MAX or (off_ms < -batch.machine.limits.heartbeat_ms and at > member.since):
        member.is_skew_told = True
        code = "ahead" if off_ms > 0 else "behind"
        batch.effects.append(Noted("clock", member.device, code, {"off_ms": off_ms}))


def _settled(batch: Batch, event: on.PushReceived) -> ServerMessage:
    """The first answer to a push that is settled."""
    message, log = event.message, batch.log
    refused = batch.machine.ledger.answer(event.device, message.seq)
    if refused is not None:
        digest, answer = refused
        return answer if digest == event.digest else _reject(batch, event, errors.SeqConflict())
    for settled in log.settled.get(event.device, ()):
        if settled.seq == message.seq:
            if settled.digest != event.digest:
                return _reject(batch, event, errors.SeqConflict())
            entry = log.entry(settled.version)
            if entry is None:
                return Ack(message.session, message.seq, settled.version, log.updated_at)
            return _ack(event, entry)
    return _reject(batch, event, errors.SeqSettled())


def _ack(event: on.PushReceived, entry: Entry) -> Ack:
    """The answer that stands for the entry: its device gets no other word of it."""
    message = event.message
    ops = None if entry.ops is message.ops or entry.ops == message.ops else entry.ops
    return Ack(message.session, message.seq, entry.version, entry.at, ops, entry.conflicts, entry.status)


def _reject(batch: Batch, event: on.PushReceived, fault: errors.SyncBridgeError, *, expected_seq: int = 0) -> Reject:
    log, message = batch.log, event.message
    batch.effects.append(Measured("reject", 1, fault.code))
    detail: dict[str, int | str] = {"about": "push", "seq": message.seq, "base": message.base, "version": log.version}
    detail["intent"] = message.intent
    if message.at is not None:
        detail["made_at"] = message.at
    batch.effects.append(Noted("refused", event.device, fault.code, detail))
    is_owner_news = isinstance(
        fault, errors.StaleOwner | errors.StaleFence | errors.StalePosition | errors.SessionEnded
    )
    needs_state = isinstance(fault, errors.BaseTooOld)
    return Reject(
        session=message.session,
        seq=message.seq,
        code=fault.code,
        retry=fault.retry,
        message=fault.message,
        version=log.version,
        fence=log.fence if is_owner_news else 0,
        active=log.active if is_owner_news else None,
        playhead=handoff_news.playhead(log) if is_owner_news else None,
        epoch=log.epoch if needs_state or isinstance(fault, errors.EpochUnknown) else "",
        state=log.state if needs_state else None,
        expected_seq=expected_seq,
    )


# -- members ----------------------------------------------------------------------------------------------------


def join(batch: Batch, event: on.MemberJoined) -> None:
    """A connection follows: it is brought to the head, by what it missed or by the whole state."""
    machine, log, message = batch.machine, batch.log, event.message
    if event.account != log.account:
        batch.say(Send(event.connection, error_about(errors.NotFound(), event, log.session)))
        batch.say(DropMember(event.connection))
        return
    members = machine.members
    members.roster = {info.id: info for info in event.roster}
    position = message.position
    have, reason = None, "new"
    if position is not None:
        have, reason = (position.version, "") if position.epoch == log.epoch else (None, "epoch")
    batch.remember(event.connection)
    is_new = members.join(event.connection, event.device, log.version, batch.now_ms)
    machine.ledger.resume(event.device, max(message.seq or 1, log.last_seq(event.device) + 1))
    if machine.is_shared:
        # From here on nothing lands that the device pushed through another node: so `last_seq` is the last word.
        batch.claims[event.device] = event.connection
    joined = batch.joined(event.connection, have, reason, message.ref)
    batch.say(Send(event.connection, joined))
    batch.say(Measured("resume", 1, joined.reason or joined.mode))
    detail: dict[str, int | str] = {"version": log.version}
    if position is not None:
        detail["from"] = position.version
        if position.epoch != log.epoch:
            detail["epoch"] = position.epoch
    batch.say(Noted("joined", event.device, joined.reason or joined.mode, detail))
    if position is not None:
        batch.say(Measured("continuity", 1, "lost" if joined.reason in ("epoch", "ahead") else "kept"))
    if machine.is_shared:
        batch.say(Present(event.device))
    if is_new:
        for news in members.presence(log.session, event.device, log.active):
            batch.say(news)
    if members.has_strangers():
        batch.say(ReadRoster())


def drained(batch: Batch, event: on.MemberDrained) -> None:
    """A slow reader has room again: one catch-up replaces what was held back."""
    member = batch.machine.members.by_connection.get(event.connection)
    if member is not None and member.is_lagging:
        for effect in batch.catch_up(event.connection, "slow"):
            batch.say(effect)


def arrived(batch: Batch, event: on.DeviceArrived) -> None:
    """A device came online: the offer that waits for it is told."""
    log = batch.log
    offer = log.offer
    if offer is not None and offer.target == event.device and log.offer_ends_at > batch.now_ms:
        batch.say(Send(event.connection, handoff_news.prepare(log, offer)))


WORKERS: dict[type, Callable[[Batch, Any], None]] = {
    on.PushReceived: push,
    on.MemberJoined: join,
    on.MemberDrained: drained,
    on.DeviceArrived: arrived,
    on.OfferReceived: work_handoffs.offer,
    on.TakeReceived: work_handoffs.take,
    on.ReadyReceived: work_handoffs.ready,
    on.DeclineReceived: work_handoffs.decline,
    on.CancelReceived: work_handoffs.cancel,
    on.ConfirmReceived: work_handoffs.confirm,
    on.OfferExpired: work_handoffs.expired,
    on.ReadRequested: work_requests.read,
    on.EditRequested: work_requests.edit,
    on.StatusRequested: work_requests.set_status,
    on.TakeRequested: work_requests.hand_off,
    on.RestoreRequested: work_requests.restore,
    on.UndoRequested: work_conflicts.undo,
}
"""Every event that needs the head."""
