"""Every error SyncBridge answers with, as one tree.

::

    SyncBridgeError
    |-- ClientFault                  the peer asked for something that cannot be
    |   |-- BadMessage  UnknownType  MessageTooLarge  UnsupportedMediaType  ValidationFailed  MethodNotAllowed
    |   |-- PatchError               PatchTestFailed  DepthExceeded  StateTooLarge  PolicyError
    |   |-- HelloRequired  AlreadyHello  HelloTimeout  ProtocolUnsupported
    |   |-- TokenMissing  TokenInvalid  TokenExpired  BadCredentials  Forbidden  OriginForbidden
    |   |-- NotFound  AccountExists  DeviceLimit  DeviceReplaced  DeviceUnknown
    |   |-- NotJoined  JoinsExceeded  SessionEnded  EpochUnknown  BaseInFuture  BaseTooOld
    |   |-- SeqGap  SeqConflict  SeqSettled  ContextRefused
    |   |-- StaleOwner  StaleFence  StalePosition  PlayheadIntent  OpenReadonly
    |   |-- HandoffSelf  HandoffBusy  HandoffUnknown  HandoffExpired  HandoffWithdrawn  CodeInvalid
    |   `-- PreconditionFailed  PreconditionRequired  RateLimited  TooSlow
    |-- DependencyFault              something we lean on did not answer; nothing is wrong with the request
    |   `-- Unavailable  Restarting  Busy
    `-- BrokenInvariant              our own fault; the session is dropped and reloaded, the node lives
        `-- Internal  StateDamaged

Each leaf carries a unique ``code`` (what a program reads), a ``retry`` verdict (what it does next), and where
they apply an HTTP status and a WebSocket close code. ``python -m syncbridge.errors`` prints the table that
``docs/errors.md`` holds.

Retry verdicts
    never    the same request can never work
    same     send the very same request again (same ``seq``: it is applied once)
    later    wait (``retry_after_ms`` where given), then send the same request
    resync   take the position or state in the answer, then decide again
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import ClassVar, Literal

Retry = Literal["never", "same", "later", "resync"]


class SyncBridgeError(Exception):
    """The root: ``code``, ``retry``, ``http_status`` and ``close_code`` are facts of the class."""

    code: ClassVar[str] = ""
    retry: ClassVar[Retry] = "never"
    http_status: ClassVar[int] = 500
    close_code: ClassVar[int | None] = None
    meaning: ClassVar[str] = ""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or self.meaning)

    @property
    def message(self) -> str:
        """The sentence a person reads: expected, got, and what to do."""
        return str(self)


class ClientFault(SyncBridgeError):
    """The peer's fault; answered, never logged as an error of ours."""

    http_status = 400


class DependencyFault(SyncBridgeError):
    """A store, a database or the network did not answer; the request itself was fine."""

    http_status = 503
    retry: ClassVar[Retry] = "later"


class BrokenInvariant(SyncBridgeError):
    """We are wrong; the session is dropped and reloaded and the last events are kept."""

    http_status = 500


# -- messages --------------------------------------------------------------------------------------------------


class BadMessage(ClientFault):
    code = "bad_message"
    close_code = 4400
    meaning = "The message is not what the protocol says; the place is named."


class UnknownType(ClientFault):
    code = "unknown_type"
    meaning = "No message of the protocol has this type."


class MessageTooLarge(ClientFault):
    code = "message_too_large"
    http_status = 413
    close_code = 1009
    meaning = "The message is larger than the limit in `welcome.limits`."


class UnsupportedMediaType(ClientFault):
    code = "unsupported_media_type"
    http_status = 415
    meaning = "The body's media type is not one this resource takes; see Accept-Patch."


class ValidationFailed(ClientFault):
    code = "validation_failed"
    http_status = 422
    meaning = "A field is missing or out of range; the field is named."


class MethodNotAllowed(ClientFault):
    code = "method_not_allowed"
    http_status = 405
    meaning = "The resource does not take this method; see Allow."


# -- patches and state ------------------------------------------------------------------------------------------


class PatchError(ClientFault):
    """A JSON Patch cannot be applied; the document is untouched.

    ``index`` is the op's place in the list (None when the list itself is wrong), ``pointer`` the RFC 6901
    pointer it was about, ``reason`` the sentence without either.
    """

    code = "bad_patch"
    http_status = 422
    meaning = "The patch cannot be applied; the op, its pointer and the reason are named."

    def __init__(self, reason: str = "", index: int | None = None, pointer: str | None = None) -> None:
        self.reason = reason or self.meaning
        self.index = index
        self.pointer = pointer
        where = "" if index is None else f"op {index}"
        if pointer is not None:
            where += f"{' ' if where else ''}at {pointer[:200]!r}"
        super().__init__(f"{where}: {self.reason}" if where else self.reason)


class PatchTestFailed(PatchError):
    code = "patch_test_failed"
    http_status = 409
    retry = "resync"
    meaning = "A `test` op found another value; nothing was applied."


class DepthExceeded(ClientFault):
    code = "depth_exceeded"
    http_status = 422
    meaning = "The value is nested deeper than the limit."


class StateTooLarge(ClientFault):
    code = "state_too_large"
    http_status = 413
    meaning = "The state would be larger than the limit; nothing was applied."


class PolicyError(ClientFault):
    """A merge policy table is wrong; raised when it is compiled, never while merging."""

    code = "bad_policy"
    http_status = 422
    meaning = "The merge policy table names an unknown policy or a bad path."


# -- identity ---------------------------------------------------------------------------------------------------


class HelloRequired(ClientFault):
    code = "hello_required"
    close_code = 4401
    meaning = "The first message on a connection is `hello`."


class AlreadyHello(ClientFault):
    code = "already_hello"
    meaning = "`hello` was said already; renew a token with `auth`."


class HelloTimeout(ClientFault):
    code = "hello_timeout"
    close_code = 4401
    meaning = "No `hello` came in time."


class ProtocolUnsupported(ClientFault):
    code = "protocol_unsupported"
    close_code = 4400
    meaning = "This protocol version is not spoken here."


class TokenMissing(ClientFault):
    code = "token_missing"
    http_status = 401
    close_code = 4401
    meaning = "A token is needed: in `hello`, or as `Authorization: Bearer`."


class TokenInvalid(ClientFault):
    code = "token_invalid"
    http_status = 401
    close_code = 4401
    meaning = "The token is not one of ours, or was revoked."


class TokenExpired(ClientFault):
    code = "token_expired"
    http_status = 401
    close_code = 4401
    retry = "later"
    meaning = "The token has expired; get a new one and go on."


class BadCredentials(ClientFault):
    code = "bad_credentials"
    http_status = 401
    meaning = "The e-mail address or the password is wrong."


class Forbidden(ClientFault):
    code = "forbidden"
    http_status = 403
    close_code = 4403
    meaning = "This identity may not do this."


class OriginForbidden(ClientFault):
    code = "origin_forbidden"
    http_status = 403
    meaning = "The page's origin is not allowed here; an operator can allow it in `allowed_origins`."


class NotFound(ClientFault):
    code = "not_found"
    http_status = 404
    meaning = "There is no such thing, or it is not yours."


class AccountExists(ClientFault):
    code = "account_exists"
    http_status = 409
    meaning = "An account with this e-mail address exists."


class DeviceLimit(ClientFault):
    """The account has its full number of devices; ``devices`` lists them as (id, name, platform)."""

    code = "device_limit"
    http_status = 409
    close_code = 4403
    meaning = "The account has its full number of devices; remove one to make room."

    def __init__(self, message: str = "", devices: tuple[tuple[str, str, str], ...] = ()) -> None:
        self.devices = devices
        super().__init__(message)


class DeviceUnknown(ClientFault):
    code = "device_unknown"
    http_status = 404
    close_code = 4403
    meaning = "The account has no such device, or it was removed."


class DeviceReplaced(ClientFault):
    code = "device_replaced"
    close_code = 4409
    meaning = "The same device connected again; this older connection is closed."


# -- sync -------------------------------------------------------------------------------------------------------


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
    meaning = "It was made on top of a push that was refused; make it again without that one."


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


# -- handoff ----------------------------------------------------------------------------------------------------


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


# -- requests ---------------------------------------------------------------------------------------------------


class PreconditionFailed(ClientFault):
    code = "precondition_failed"
    http_status = 412
    retry = "resync"
    meaning = "The resource changed since the version in If-Match."


class PreconditionRequired(ClientFault):
    code = "precondition_required"
    http_status = 428
    meaning = "This change needs If-Match with the version it was made from."


class RateLimited(ClientFault):
    code = "rate_limited"
    http_status = 429
    close_code = 4429
    retry = "later"
    meaning = "Too many requests; wait as long as the answer says."


class TooSlow(ClientFault):
    code = "too_slow"
    close_code = 4408
    retry = "later"
    meaning = "The device reads nothing; reconnect and resume."


# -- dependencies -----------------------------------------------------------------------------------------------


class Unavailable(DependencyFault):
    code = "unavailable"
    close_code = 1013
    meaning = "Storage does not answer; nothing was applied that was not acknowledged."


class Restarting(DependencyFault):
    code = "restarting"
    close_code = 1012
    retry = "same"
    meaning = "The node restarts; reconnect after the time given and resume."


class Busy(DependencyFault):
    code = "busy"
    close_code = 1013
    meaning = "The node is at its limit; reconnect after the time given."


class Internal(BrokenInvariant):
    code = "internal"
    close_code = 1011
    retry = "same"
    meaning = "An error of ours; it is logged with the request id."


class StateDamaged(BrokenInvariant):
    code = "state_damaged"
    meaning = "Stored data of this session failed its checksum; it is set aside, not served. Restore a backup."


def leaves(root: type[SyncBridgeError] = SyncBridgeError) -> Iterator[type[SyncBridgeError]]:
    """Every class with a code, trunk by trunk, in the order of this file."""
    for child in root.__subclasses__():
        if child.code:
            yield child
        yield from leaves(child)


@cache
def by_code() -> dict[str, type[SyncBridgeError]]:
    """code -> class, for whoever has to turn an answer back into an exception."""
    return {leaf.code: leaf for leaf in leaves()}


def table() -> str:
    """The Markdown table of every code, as ``docs/errors.md`` holds it."""
    rows = ["| code | retry | HTTP | close | meaning |", "| --- | --- | --- | --- | --- |"]
    rows += [
        f"| `{leaf.code}` | {leaf.retry} | {leaf.http_status} | {leaf.close_code or '-'} | {leaf.meaning} |"
        for leaf in leaves()
    ]
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(table(), end="")
