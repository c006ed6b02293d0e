"""Looking back, and taking back: what the log no longer holds, or what has moved on since."""

from __future__ import annotations

from syncbridge.errors.roots import ClientFault


class HistoryGone(ClientFault):
    code = "history_gone"
    http_status = 404
    meaning = "The log no longer reaches back so far; `oldest` is the oldest version whose state can be told."


class ConflictMovedOn(ClientFault):
    code = "conflict_moved_on"
    http_status = 409
    retry = "resync"
    meaning = (
        "The place was written again since the conflict; `present` is what stands there."
        " Send `force`, or If-Match with the present version, to replace it."
    )


class ConflictPlaceGone(ClientFault):
    code = "conflict_place_gone"
    http_status = 409
    meaning = "There is no place any more that the value could come back to; write it where it belongs now."


class ConflictExpired(ClientFault):
    code = "conflict_expired"
    http_status = 410
    meaning = "The conflict is too old to be undone."
