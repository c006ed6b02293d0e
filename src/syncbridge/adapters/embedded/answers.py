"""What a transaction is told: by the tail of its session, or by the fate of its group."""

from __future__ import annotations

from syncbridge.adapters.embedded.tail import SessionTail, Verdict
from syncbridge.adapters.embedded.worker import Fate
from syncbridge.core.entry import Txn
from syncbridge.ports import Outcome, WasCommitted, WasConflict, WasForeign, WasRefused, WasUnknown


def judged_by_tail(txn: Txn, tail: SessionTail, verdict: Verdict) -> Outcome:
    """The answer to a transaction that appends nothing, where all of the tail is on disk."""
    if verdict is Verdict.STANDS:
        return WasCommitted(txn.id)
    if verdict is Verdict.BEHIND:
        return WasConflict(txn.id, *tail.since(txn.expected, tail.version))
    return WasForeign(txn.id)


def unwritten(txn: Txn, fate: Fate) -> Outcome:
    """The answer to a transaction whose group is not known to be on disk."""
    return WasUnknown(txn.id) if fate is Fate.UNKNOWN else WasRefused(txn.id, "unavailable")
