"""The workers of REST requests: each ends in a `Reply`, said once what it rests on is committed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from syncbridge import errors
from syncbridge._ext import diff, merge_patch
from syncbridge.core import events as on
from syncbridge.core.admission import Change, admit
from syncbridge.core.batch import Batch
from syncbridge.core.effects import Noted, Reply
from syncbridge.core.entry import Entry
from syncbridge.core.ids import RequestId
from syncbridge.core.playhead import KEY, POINTER, Anchor, of_state
from syncbridge.core.work_handoffs import place_offer, taken, tell_ended, transfer
from syncbridge.limits import Limits


def on_request(work: Callable[[Batch, Any], None]) -> Callable[[Batch, Any], None]:
    """A worker whose faults become the request's reply."""

    def worker(batch: Batch, event: Any) -> None:
        batch.compare()
        try:
            work(batch, event)
        except errors.ClientFault as fault:
            batch.say(Reply(event.request, None, fault.code, fault.message, fault.members))
            detail: dict[str, int | str] = {"about": "request", "version": batch.log.version}
            batch.say(Noted("refused", getattr(event, "device", ""), fault.code, detail))

    return worker


def reply(batch: Batch, request: RequestId, **extra: Any) -> None:
    """The request is answered with where the session stands now."""
    batch.say(Reply(request, batch.view(**extra)))


def check_expected(batch: Batch, expected: int | None) -> None:
    """Nothing was written since the version that the request expects, if any. Raises PreconditionFailed."""
    if expected is not None and expected != batch.log.version:
        raise errors.PreconditionFailed(f"the state is at version {batch.log.version}, not {expected}")


@on_request
def read(batch: Batch, event: on.ReadRequested) -> None:
    """The state as it stands."""
    reply(batch, event.request)


@on_request
def edit(batch: Batch, event: on.EditRequested) -> None:
    """A change over REST goes the way of a push."""
    machine, log = batch.machine, batch.log
    check_expected(batch, event.expected)
    ops: Any
    if event.form == "patch":
        ops = event.value
    else:
        target = event.value if event.form == "put" else merge_patch(log.state, event.value)
        if type(target) is not dict:
            raise errors.ValidationFailed("the state is a JSON object")
        ops = diff(log.state, target)
    if ops or event.form == "patch":
        change = Change(event.device, 0, log.version, ops, event.intent, None, None)
        limits = machine.limits
        if event.form != "patch":
            # The ops are ours, not the caller's: how many there are is bounded by the state's size.
            limits = _with_room_for(limits, len(ops))
        verdict = admit(log, change, machine.kind, limits, batch.now_ms)
        batch.append(verdict.entry, state=verdict.state, size=verdict.size)
        tell_ended(batch)
    reply(batch, event.request)


def _with_room_for(limits: Limits, count: int) -> Limits:
    return limits if count <= limits.ops_max else replace(limits, ops_max=count)


@on_request
def set_status(batch: Batch, event: on.StatusRequested) -> None:
    """Pause, resume, complete or archive; the playhead follows."""
    log, wanted = batch.log, event.status
    check_expected(batch, event.expected)
    if wanted == log.status:
        reply(batch, event.request)
        return
    if log.status == "archived" or (log.status == "completed" and wanted != "archived"):
        raise errors.SessionEnded(f"the session is {log.status}")
    anchor = of_state(log.state, rate_max=batch.machine.limits.rate_max)
    ops = []
    rate = 1.0 if wanted == "active" else 0.0
    if anchor is not None and anchor.rate != rate and not (wanted == "active" and anchor.rate > 0):
        moved = anchor.re_anchored(batch.now_ms, rate=rate)
        ops = [{"op": "replace" if KEY in log.state else "add", "path": POINTER, "value": moved.as_json()}]
    entry = Entry(
        version=log.version + 1,
        kind="status",
        at=batch.now_ms,
        device=event.device,
        ops=ops,
        intent="seek",
        status=wanted,
    )
    batch.append(entry)
    tell_ended(batch)
    reply(batch, event.request)


@on_request
def hand_off(batch: Batch, event: on.TakeRequested) -> None:
    """A handoff asked for over REST."""
    machine, log = batch.machine, batch.log
    machine.members.roster = {info.id: info for info in event.roster}
    if all(info.id != event.target for info in event.roster):
        raise errors.DeviceUnknown("the account has no such device to hand over to")
    if event.mode == "offer":
        note, _ = place_offer(
            batch,
            source=event.device or log.active or "",
            target=event.target,
            handoff=event.handoff,
            expires_ms=event.expires_ms,
        )
        reply(batch, event.request, handoff=note.id, is_waiting=True)
        return
    if log.active == event.target:
        reply(batch, event.request, handoff=event.handoff)
        return
    note = taken(batch, event.handoff, event.target, event.asked_at)
    uncertainty_ms = transfer(batch, note, device=event.device, heard_at=event.source_heard_at)
    reply(batch, event.request, handoff=event.handoff, uncertainty_ms=uncertainty_ms)


@on_request
def restore(batch: Batch, event: on.RestoreRequested) -> None:
    """A state of before comes back as a new entry; nothing of the log is lost.

    Its playhead goes on from now: the time since then was not played.
    """
    log = batch.log
    check_expected(batch, event.expected)
    if log.status in ("completed", "archived"):
        raise errors.SessionEnded(f"the session is {log.status}")
    state, status = event.state, log.status
    anchor = of_state(state, rate_max=batch.machine.limits.rate_max)
    if anchor is not None:
        rate = anchor.rate if log.status == "active" else 0.0
        anchor = Anchor(anchor.position, rate, batch.now_ms, anchor.duration)
        state, status = {**state, KEY: anchor.as_json()}, "active" if rate > 0 else "paused"
    ops = diff(log.state, state)
    if ops:
        entry = Entry(
            version=log.version + 1,
            kind="restore",
            at=batch.now_ms,
            device=event.device,
            ops=ops,
            intent="seek",
            status=status if status != log.status else None,
        )
        batch.append(entry)
    reply(batch, event.request)
