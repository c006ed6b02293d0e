"""A handoff that cannot be, or is over."""

from __future__ import annotations

from syncbridge.errors.roots import ClientFault


class HandoffSelf(ClientFault):
    code = "handoff_self"
    http_status = 409
    meaning = "A device cannot hand a session to itself."


class HandoffBusy(ClientFault):
    code = "handoff_busy"
    http_status = 409
    retry = "later"
    meaning = "Another handoff of this session is under way; one wins."


class HandoffUnknown(ClientFault):
    code = "handoff_unknown"
    http_status = 404
    meaning = "There is no such handoff, or it is over."


class HandoffExpired(ClientFault):
    code = "handoff_expired"
    http_status = 409
    meaning = "The handoff ran out of time; the source still runs."


class HandoffWithdrawn(ClientFault):
    code = "handoff_withdrawn"
    http_status = 409
    meaning = "The handoff was cancelled or declined, or the session moved on."


class CodeInvalid(ClientFault):
    code = "code_invalid"
    http_status = 404
    meaning = "The one-time code is wrong, used or expired."
