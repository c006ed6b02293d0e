"""A push or a join that does not fit the session's log."""

from __future__ import annotations

from syncbridge.errors.roots import ClientFault


class NotJoined(ClientFault):
    code = "not_joined"
    meaning = "Join the session on this connection first."


class JoinsExceeded(ClientFault):
    code = "joins_exceeded"
    meaning = "This connection follows as many sessions as one may."


class SessionEnded(ClientFault):
    code = "session_ended"
    http_status = 409
    meaning = "A completed session's playhead stands still; an archived session takes no change at all."


class EpochUnknown(ClientFault):
    code = "epoch_unknown"
    http_status = 409
    retry = "resync"
    meaning = "This is another log than the one the position was taken from; join again."


class BaseInFuture(ClientFault):
    code = "base_in_future"
    http_status = 409
    retry = "resync"
    meaning = "The push names a base version that does not exist yet; join again."


class BaseTooOld(ClientFault):
    code = "base_too_old"
    http_status = 409
    retry = "resync"
    meaning = "The log no longer reaches back to this base; merge with the state given and push the difference."


class SeqGap(ClientFault):
    code = "seq_gap"
    retry = "resync"
    meaning = "A push number was skipped; send the missing one first."


class SeqConflict(ClientFault):
    code = "seq_conflict"
    meaning = "This push number was used before with another body."


class SeqSettled(ClientFault):
    code = "seq_settled"
    meaning = "Later pushes are settled and no answer to this one is kept; if it is missing, number it anew."


class ContextRefused(ClientFault):
    code = "context_refused"
    retry = "resync"
    meaning = "It was made on top of a push that was refused, or is not known as it was made; make it again."


class StaleOwner(ClientFault):
    code = "stale_owner"
    http_status = 409
    retry = "resync"
    meaning = "Another device is active; progress is taken from it alone. The true position is given."


class StaleFence(ClientFault):
    code = "stale_fence"
    http_status = 409
    retry = "resync"
    meaning = "The fencing token is not the current one."


class StalePosition(ClientFault):
    code = "stale_position"
    http_status = 409
    retry = "resync"
    meaning = "This progress is older than, or lies before, what is known; only a `seek` goes back."


class PlayheadIntent(ClientFault):
    code = "playhead_intent"
    http_status = 422
    meaning = "The playhead is moved by intent `progress`, `seek` or `finish`, with a valid anchor."


class OpenReadonly(ClientFault):
    code = "open_readonly"
    meaning = "A push with intent `open` carries no ops: opening never writes."
