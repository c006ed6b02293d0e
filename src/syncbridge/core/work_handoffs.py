"""The workers of a handoff: what each request comes to inside a batch (see `core.handoffs` for the theory)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from syncbridge import errors
from syncbridge.core import events as on
from syncbridge.core import handoff_news, handoffs
from syncbridge.core.answers import error_about, subject_of
from syncbridge.core.batch import Batch
from syncbridge.core.effects import Measured, Noted, Send, SendToDevice, SetTimer
from syncbridge.core.entry import HandoffNote
from syncbridge.core.ids import DeviceId, HandoffId
from syncbridge.core.messages import HandoffDone, HandoffOffered

CONTINUITY_MS_MAX = 50
"""So far a playhead may jump without a person noticing that the session was handed over."""


def place_offer(
    batch: Batch, *, source: str, target: str, handoff: str, expires_ms: int | None
) -> tuple[HandoffNote, bool]:
    """The offer entry and its news; (the note, whether the target is away). Raises what `handoffs.offer` raises."""
    machine, log = batch.machine, batch.log
    is_here = machine.members.has_device(target)
    entry = handoffs.offer(
        log,
        handoff=handoff,
        source=source,
        target=target,
        roster=tuple(machine.members.roster.values()),
        expires_at=handoffs.expires_at(expires_ms, is_here=is_here, limits=machine.limits, now_ms=batch.now_ms),
        now_ms=batch.now_ms,
    )
    note = entry.handoff
    assert note is not None
    batch.append(entry)
    batch.say(SendToDevice(DeviceId(target), handoff_news.prepare(log, note)))
    batch.say(SetTimer("offer", note.expires_at))
    return note, not is_here


def taken(batch: Batch, handoff: str, target: DeviceId, asked_at: int) -> HandoffNote:
    """What the entry of a take says of it."""
    began_at = asked_at if asked_at < batch.now_ms else 0
    return HandoffNote(id=HandoffId(handoff), mode="take", target=target, began_at=began_at)


def transfer(batch: Batch, note: HandoffNote, *, device: str, heard_at: int | None, ref: str = "") -> int:
    """The handoff entry and its news; the uncertainty of the playhead, in ms."""
    machine, log = batch.machine, batch.log
    source, members = DeviceId(log.active or ""), machine.members
    heard = members.elsewhere.get(source, log.heard.get(source)) if heard_at is None else heard_at
    before = log.offer
    started_at = note.began_at or batch.now_ms
    if before is not None and before.id == note.id:
        offered = log.entry(log.offer_version)
        waited = offered is not None and before.expires_at - offered.at > machine.limits.handoff_ready_ms
        # When its time began here: its entry may be of another clock.
        began_at = log.offer_ends_at - (0 if offered is None else before.expires_at - offered.at)
        started_at = batch.now_ms if offered is None or waited else began_at
    entry = handoffs.transfer(
        log,
        note,
        device=device,
        heard_at=heard,
        is_source_online=members.has_device(source),
        # From another node comes word of it now and then; see `attendance.RENEWALS`.
        silent_ms_max=machine.limits.heartbeat_ms * (1 if members.is_here(source) else 2),
        limits=machine.limits,
        now_ms=batch.now_ms,
    )
    told = entry.handoff
    assert told is not None
    batch.append(entry)
    if before is not None and before.id != note.id:
        _tell_failed(batch, before, "superseded")
    done = handoff_news.done(log, entry, told)
    for connection, member in machine.members.by_connection.items():
        answers = ref and member.device == device
        batch.say(Send(connection, msgspec.structs.replace(done, ref=ref) if answers else done))
    batch.say(Measured("handoff_done", started_at, note.mode))
    batch.say(Measured("continuity", 1, "kept" if told.uncertainty_ms <= CONTINUITY_MS_MAX else "lost"))
    return told.uncertainty_ms


def _tell_failed(batch: Batch, note: HandoffNote, reason: str) -> None:
    log, members = batch.log, batch.machine.members
    failed = handoff_news.failed(log, note, reason)
    for connection in members.by_connection:
        batch.say(Send(connection, failed))
    if note.target is not None and not members.is_here(note.target):
        batch.say(SendToDevice(note.target, failed))
    batch.say(Measured("handoff_failed", 1, reason))
    if reason in ("superseded", "ended"):  # of the others an entry tells
        batch.say(Noted("handoff", str(note.target or ""), reason, {"handoff": note.id}))


def _withdraw(batch: Batch, note: HandoffNote, *, device: str, reason: str) -> None:
    batch.append(handoffs.withdraw(batch.log, note, device=device, reason=reason, now_ms=batch.now_ms))
    _tell_failed(batch, note, reason)


def tell_ended(batch: Batch) -> None:
    """The entry just appended, where it ended the session, ended its waiting offer with it."""
    if batch.ended_offer is not None:
        _tell_failed(batch, batch.ended_offer, "ended")


def _on_a_connection(work: Callable[[Batch, Any], None]) -> Callable[[Batch, Any], None]:
    """A worker whose faults are answered by `error` on the event's connection."""

    def worker(batch: Batch, event: Any) -> None:
        if event.connection not in batch.machine.members.by_connection and not isinstance(event, on.DeclineReceived):
            batch.say(Send(event.connection, error_about(errors.NotJoined(), event, batch.log.session)))
            return
        batch.compare()
        try:
            work(batch, event)
        except errors.ClientFault as fault:
            batch.say(Send(event.connection, error_about(fault, event, batch.log.session)))
            if not isinstance(fault, errors.NotFound):  # a stranger's asking is no news of this session
                detail: dict[str, int | str] = {"about": subject_of(event), "version": batch.log.version}
                batch.say(Noted("refused", event.device, fault.code, detail))

    return worker


@_on_a_connection
def offer(batch: Batch, event: on.OfferReceived) -> None:
    """The active device asks another one to take over."""
    message = event.message
    note, is_waiting = place_offer(
        batch, source=event.device, target=message.to, handoff=event.handoff, expires_ms=message.expires_ms
    )
    batch.say(
        Send(
            event.connection,
            HandoffOffered(message.session, note.id, message.to, note.expires_at, is_waiting, message.ref),
        )
    )


@_on_a_connection
def take(batch: Batch, event: on.TakeReceived) -> None:
    """ "Continue here": at once, for a member holds the state."""
    log, message = batch.log, event.message
    if log.active == event.device:
        # Taken already (or the answer was lost): the same answer again, no second handoff.
        batch.say(
            Send(
                event.connection,
                HandoffDone(
                    session=log.session,
                    handoff=event.handoff,
                    fence=log.fence,
                    active=event.device,
                    version=log.fence_version,
                    playhead=handoff_news.playhead(log),
                    ref=message.ref,
                ),
            )
        )
        return
    note = taken(batch, event.handoff, event.device, event.asked_at)
    transfer(batch, note, device=event.device, heard_at=event.source_heard_at, ref=message.ref)


@_on_a_connection
def ready(batch: Batch, event: on.ReadyReceived) -> None:
    """The target holds the state and can run: it moves."""
    note = handoffs.standing_offer(batch.log, event.message.handoff, batch.now_ms)
    if note.target != event.device:
        raise errors.HandoffUnknown
    transfer(batch, note, device=event.device, heard_at=event.source_heard_at)


@_on_a_connection
def decline(batch: Batch, event: on.DeclineReceived) -> None:
    """The target does not want it."""
    if event.account != batch.log.account:
        raise errors.NotFound
    note = handoffs.standing_offer(batch.log, event.message.handoff, batch.now_ms)
    if note.target != event.device:
        raise errors.HandoffUnknown
    _withdraw(batch, note, device=event.device, reason="declined")


@_on_a_connection
def cancel(batch: Batch, event: on.CancelReceived) -> None:
    """The source, or whoever is active, takes its offer back."""
    note = handoffs.standing_offer(batch.log, event.message.handoff, batch.now_ms)
    if event.device not in (note.source, batch.log.active):
        raise errors.HandoffUnknown
    _withdraw(batch, note, device=event.device, reason="cancelled")


@_on_a_connection
def confirm(batch: Batch, event: on.ConfirmReceived) -> None:
    """The new owner runs: ends the measurement."""
    log = batch.log
    if log.active == event.device:
        entry = log.entry(log.fence_version)
        if entry is not None and entry.handoff is not None and entry.handoff.id == event.message.handoff:
            batch.effects.append(Measured("handoff_confirmed", entry.at, entry.handoff.mode))


def expired(batch: Batch, _event: on.OfferExpired) -> None:
    """The waiting offer's time is over, if there is one and it is."""
    note = batch.log.offer
    if note is None:
        return
    if batch.log.offer_ends_at > batch.now_ms:
        batch.say(SetTimer("offer", batch.log.offer_ends_at))
        return
    _withdraw(batch, note, device="", reason="expired")
