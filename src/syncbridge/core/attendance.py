"""Who is there: what happens to members, and between them, that does not need the log's head."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from syncbridge.core import effects as do
from syncbridge.core import events as on
from syncbridge.core.effects import AnyEffect
from syncbridge.core.events import AnyEvent
from syncbridge.core.ids import ConnectionId, DeviceId
from syncbridge.core.messages import SignalMessage

if TYPE_CHECKING:
    from syncbridge.core.session import SessionMachine

RENEWALS = 2
"""So often in a heartbeat other nodes hear of the active device: of a live one they know no silence of two of them."""


def _on_member_left(machine: SessionMachine, event: on.MemberLeft, now_ms: int) -> list[AnyEffect]:
    said = leave(machine, event.connection, heard_at=event.heard_at, cause=event.cause)
    return said + (machine.rest(now_ms) if machine.batch is None else [])


def leave(machine: SessionMachine, connection: ConnectionId, *, heard_at: int, cause: str) -> list[AnyEffect]:
    """It follows no more, nothing that it asked is worked any more, and the others are told."""
    machine.queue = deque(waiting for waiting in machine.queue if getattr(waiting, "connection", None) != connection)
    member = machine.members.by_connection.get(connection)
    said = forget(machine, connection, heard_at=heard_at)
    if member is not None:
        said.append(do.Noted("left", member.device, cause, {"heard_at": heard_at}))
    return said


def forget(machine: SessionMachine, connection: ConnectionId, *, heard_at: int = 0) -> list[AnyEffect]:
    """It follows no more, and the others are told; also of one that was to join by what is in flight."""
    machine.joining.discard(connection)
    if machine.batch is not None:
        machine.batch.gone.add(connection)
    log, members = machine.log, machine.members
    device = members.leave(connection)
    if device is None:
        return []
    if log is not None:
        heard_at = log.heard[device] = max(log.heard.get(device, 0), heard_at)
    # A device that went to another node is no less online than before.
    said = [] if device in members.elsewhere else _news_of(machine, device)
    if machine.is_shared and not members.is_here(device):
        said.append(do.Absent(device, heard_at))
    return said


def _news_of(machine: SessionMachine, device: DeviceId) -> list[AnyEffect]:
    """The others hear whether the device is online now."""
    log = machine.log
    # Who is active by a commit in flight is not so yet, and must not be said.
    holder = machine.batch.mark if machine.batch is not None else log
    said = machine.members.presence(machine.session, device, holder.active if holder is not None else None)
    batch = machine.batch
    if batch is not None and log is not None and any(type(there) is on.MemberJoined for there in batch.events):
        # A join in flight, its own or another's, is about to say that it is here.
        batch.effects += machine.members.presence(machine.session, device, log.active)
    return said


def _on_member_lagging(machine: SessionMachine, event: on.MemberLagging, _now_ms: int) -> list[AnyEffect]:
    machine.members.lag(event.connection)
    return []


def _on_roster_changed(machine: SessionMachine, event: on.RosterChanged, _now_ms: int) -> list[AnyEffect]:
    news: list[AnyEffect] = []
    if machine.log is not None and machine.log.account == event.account:
        news = machine.members.renew(machine.session, event.roster, machine.log.active)
    # A join brings the roster of the time when it was said: one that waits must not bring an old one back.
    machine.queue = deque(_with_roster(waiting, event) for waiting in machine.queue)
    if machine.batch is not None:
        machine.batch.events = [_with_roster(waiting, event) for waiting in machine.batch.events]
    return news


def _on_signal(machine: SessionMachine, event: on.SignalReceived, _now_ms: int) -> list[AnyEffect]:
    if event.connection not in machine.members.by_connection:
        return []
    others = [there for there in machine.members.by_connection if there != event.connection]
    signal = SignalMessage(machine.session, event.device, event.message.data)
    said: list[AnyEffect] = [do.Broadcast(signal, others, is_droppable=True)] if others else []
    return [*said, do.Relay(event.device, signal)] if machine.members.elsewhere else said


# -- other nodes ------------------------------------------------------------------------------------------------


def _on_seen_elsewhere(machine: SessionMachine, event: on.SeenElsewhere, now_ms: int) -> list[AnyEffect]:
    """Who came or went at other nodes is told to the members here, once: not who is here as well, and moves."""
    members, log = machine.members, machine.log
    before, members.elsewhere = members.elsewhere, dict(event.devices)
    said: list[AnyEffect] = []
    for device in sorted(before.keys() ^ event.devices.keys()):
        if device in before and log is not None:
            log.heard[device] = max(log.heard.get(device, 0), before[device])
        if not members.is_here(device):
            said += _news_of(machine, device)
    came = event.devices.keys() - before.keys()
    # Asked once for each that comes: whoever was removed meanwhile is in no roster, however often it is read.
    if members.by_connection and came - members.roster.keys():
        said.append(do.ReadRoster())
    if not before and event.devices:
        said += on_heard_timer(machine, now_ms)
    return said


def on_heard_timer(machine: SessionMachine, now_ms: int) -> list[AnyEffect]:
    """While others follow elsewhere, they hear that the active device is heard here: a take there reckons with it."""
    members, log = machine.members, machine.log
    if not members.elsewhere or not machine.is_shared:
        return []
    said: list[AnyEffect] = [do.SetTimer("heard", now_ms + machine.limits.heartbeat_ms // RENEWALS)]
    if log is not None and log.active is not None and members.is_here(log.active):
        said.append(do.Present(DeviceId(log.active)))
    return said


# -- the roster -------------------------------------------------------------------------------------------------


def _with_roster(waiting: AnyEvent, news: on.RosterChanged) -> AnyEvent:
    if isinstance(waiting, on.MemberJoined) and waiting.account == news.account:
        return msgspec.structs.replace(waiting, roster=news.roster)
    return waiting


HANDLERS: dict[type, Callable[[SessionMachine, Any, int], list[AnyEffect]]] = {
    on.MemberLeft: _on_member_left,
    on.MemberLagging: _on_member_lagging,
    on.RosterChanged: _on_roster_changed,
    on.SignalReceived: _on_signal,
    on.SeenElsewhere: _on_seen_elsewhere,
}
