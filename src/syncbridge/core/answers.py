"""Error answers: which message a fault is about, and the forms it takes."""

from __future__ import annotations

from typing import Any

from syncbridge import errors
from syncbridge.core import events as on
from syncbridge.core.messages import ErrorMessage, Push, Reject

_ABOUT: dict[type, str] = {
    on.MemberJoined: "join",
    on.PushReceived: "push",
    on.OfferReceived: "handoff.offer",
    on.TakeReceived: "handoff.take",
    on.ReadyReceived: "handoff.ready",
    on.DeclineReceived: "handoff.decline",
    on.CancelReceived: "handoff.cancel",
    on.ConfirmReceived: "handoff.confirm",
}

ASKED_BY_MEMBERS = frozenset(_ABOUT) - {on.MemberJoined, on.DeclineReceived}
"""What is answered `not_joined` on a connection that does not follow."""


def subject_of(event: Any) -> str:
    """The type of the message that became the event; "" where it was none."""
    return _ABOUT.get(type(event), "")


def error_about(fault: errors.SyncBridgeError, event: Any, session: str) -> ErrorMessage:
    """The `error` message that answers ``event``; its ``ref`` is echoed."""
    return ErrorMessage(
        fault.code,
        fault.message,
        fault.retry,
        about=subject_of(event),
        session=session,
        ref=getattr(getattr(event, "message", None), "ref", ""),
    )


def reject_of(fault: errors.SyncBridgeError, push: Push, version: int, wait_ms: int) -> Reject:
    """The `reject` of a push about which nothing was done; where a dependency failed, to be sent again as it is."""
    if isinstance(fault, errors.DependencyFault):
        return Reject(push.session, push.seq, fault.code, "same", fault.message, version, retry_after_ms=wait_ms)
    return Reject(push.session, push.seq, fault.code, fault.retry, fault.message, version)
