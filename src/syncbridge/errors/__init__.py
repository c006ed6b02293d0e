"""Every error SyncBridge answers with, as one tree.

::

    SyncBridgeError
    |-- ClientFault                  the peer asked for something that cannot be
    |   |-- BadMessage  UnknownType  MessageTooLarge  UnsupportedMediaType  ValidationFailed  MethodNotAllowed
    |   |-- PatchError               PatchTestFailed  DepthExceeded  StateTooLarge  PolicyError
    |   |-- HelloRequired  AlreadyHello  HelloTimeout  ProtocolUnsupported
    |   |-- TokenMissing  TokenInvalid  TokenRevoked  TokenExpired  BadCredentials  Forbidden  OriginForbidden
    |   |-- ProofRequired  AccountErased
    |   |-- NotFound  AccountExists  DeviceLimit  DeviceReplaced  DeviceUnknown
    |   |-- NotJoined  JoinsExceeded  SessionEnded  EpochUnknown  BaseInFuture  BaseTooOld
    |   |-- SeqGap  SeqConflict  SeqSettled  ContextRefused
    |   |-- StaleOwner  StaleFence  StalePosition  PlayheadIntent  OpenReadonly
    |   |-- HistoryGone  ConflictMovedOn  ConflictPlaceGone  ConflictExpired
    |   |-- HandoffSelf  HandoffBusy  HandoffUnknown  HandoffExpired  HandoffWithdrawn  CodeInvalid
    |   |-- SnapshotsExceeded  IdempotencyInProgress  IdempotencyKeyReused
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

# In the order of the tree, for that is the order of `leaves` and of the documented table.
# isort: off
from syncbridge.errors.roots import (
    BrokenInvariant,
    ClientFault,
    DependencyFault,
    Retry,
    SyncBridgeError,
)
from syncbridge.errors.messages import (
    BadMessage,
    MessageTooLarge,
    MethodNotAllowed,
    UnknownType,
    UnsupportedMediaType,
    ValidationFailed,
)
from syncbridge.errors.patches import (
    DepthExceeded,
    PatchError,
    PatchTestFailed,
    PolicyError,
    StateTooLarge,
)
from syncbridge.errors.identity import (
    AccountErased,
    AccountExists,
    AlreadyHello,
    BadCredentials,
    DeviceLimit,
    DeviceReplaced,
    DeviceUnknown,
    Forbidden,
    HelloRequired,
    HelloTimeout,
    NotFound,
    OriginForbidden,
    ProofRequired,
    ProtocolUnsupported,
    TokenExpired,
    TokenInvalid,
    TokenMissing,
    TokenRevoked,
)
from syncbridge.errors.sync import (
    BaseInFuture,
    BaseTooOld,
    ContextRefused,
    EpochUnknown,
    JoinsExceeded,
    NotJoined,
    OpenReadonly,
    PlayheadIntent,
    SeqConflict,
    SeqGap,
    SeqSettled,
    SessionEnded,
    StaleFence,
    StaleOwner,
    StalePosition,
)
from syncbridge.errors.history import (
    ConflictExpired,
    ConflictMovedOn,
    ConflictPlaceGone,
    HistoryGone,
)
from syncbridge.errors.handoffs import (
    CodeInvalid,
    HandoffBusy,
    HandoffExpired,
    HandoffSelf,
    HandoffUnknown,
    HandoffWithdrawn,
)
from syncbridge.errors.requests import (
    IdempotencyInProgress,
    IdempotencyKeyReused,
    PreconditionFailed,
    PreconditionRequired,
    RateLimited,
    SnapshotsExceeded,
    TooSlow,
)
from syncbridge.errors.faults import (
    Busy,
    Internal,
    Restarting,
    StateDamaged,
    Unavailable,
)
# isort: on

__all__ = [
    "AccountErased",
    "AccountExists",
    "AlreadyHello",
    "BadCredentials",
    "BadMessage",
    "BaseInFuture",
    "BaseTooOld",
    "BrokenInvariant",
    "Busy",
    "ClientFault",
    "CodeInvalid",
    "ConflictExpired",
    "ConflictMovedOn",
    "ConflictPlaceGone",
    "ContextRefused",
    "DependencyFault",
    "DepthExceeded",
    "DeviceLimit",
    "DeviceReplaced",
    "DeviceUnknown",
    "EpochUnknown",
    "Forbidden",
    "HandoffBusy",
    "HandoffExpired",
    "HandoffSelf",
    "HandoffUnknown",
    "HandoffWithdrawn",
    "HelloRequired",
    "HelloTimeout",
    "HistoryGone",
    "IdempotencyInProgress",
    "IdempotencyKeyReused",
    "Internal",
    "JoinsExceeded",
    "MessageTooLarge",
    "MethodNotAllowed",
    "NotFound",
    "NotJoined",
    "OpenReadonly",
    "OriginForbidden",
    "PatchError",
    "PatchTestFailed",
    "PlayheadIntent",
    "PolicyError",
    "PreconditionFailed",
    "PreconditionRequired",
    "ProofRequired",
    "ProtocolUnsupported",
    "RateLimited",
    "Restarting",
    "Retry",
    "SeqConflict",
    "SeqGap",
    "SeqSettled",
    "SessionEnded",
    "SnapshotsExceeded",
    "StaleFence",
    "StaleOwner",
    "StalePosition",
    "StateDamaged",
    "StateTooLarge",
    "SyncBridgeError",
    "TokenExpired",
    "TokenInvalid",
    "TokenMissing",
    "TokenRevoked",
    "TooSlow",
    "Unavailable",
    "UnknownType",
    "UnsupportedMediaType",
    "ValidationFailed",
    "by_code",
    "leaves",
    "table",
]


def leaves(root: type[SyncBridgeError] = SyncBridgeError) -> Iterator[type[SyncBridgeError]]:
    """Every class with a code, trunk by trunk, in the order of the tree."""
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
