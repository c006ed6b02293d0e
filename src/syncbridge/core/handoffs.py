"""How a session changes hands: the entries of a handoff, and who may ask for one.

Theory. Ownership is two fields of the log, ``fence`` and ``active``, and only a `handoff` entry moves them, both at
once: there is never a moment with two active devices, and a handoff that does not reach its entry changed nothing.

======= ================================================== ====================================================
step    entry                                              ends by
======= ================================================== ====================================================
offer   `offer`: the active device names a target          ready, decline, cancel, expiry, or the session moves on
ready   `handoff`: fence + 1, active = target              (it is done)
take    `handoff`: fence + 1, active = whoever takes it    (it is done; a waiting offer is superseded)
decline `withdraw` declined                                the source still runs
cancel  `withdraw` cancelled                               the source still runs
expiry  `withdraw` expired                                 the source still runs
======= ================================================== ====================================================

The offer stands in the log, so it outlives the process, waits for a device that is away, and is the same on every
node. How long it lasts is told by the log; each node counts that from when the entry came to it, or by the store's
clock, for the clock by which it was written may be another's. The source runs until the `handoff` entry is committed.

A dead source can be taken from. Its playhead is reckoned from its last anchor up to when it was last heard, and the
entry says how far that may be off (``uncertainty_ms``); a live source's playhead simply goes on.
"""

from __future__ import annotations

from syncbridge import errors
from syncbridge.core.entry import Entry, HandoffNote
from syncbridge.core.ids import DeviceId, HandoffId
from syncbridge.core.log import SessionLog
from syncbridge.core.messages import DeviceInfo
from syncbridge.core.playhead import POINTER, Anchor, of_state
from syncbridge.limits import Limits


def check_takeable(log: SessionLog) -> None:
    """Raises SessionEnded."""
    if log.status in ("completed", "archived"):
        raise errors.SessionEnded(f"the session is {log.status}; there is nothing to hand over")


def offer(
    log: SessionLog,
    *,
    handoff: str,
    source: str,
    target: str,
    roster: tuple[DeviceInfo, ...],
    expires_at: int,
    now_ms: int,
) -> Entry:
    """The `offer` entry. Raises SessionEnded, HandoffSelf, DeviceUnknown, StaleOwner, HandoffBusy."""
    check_takeable(log)
    if target == source:
        raise errors.HandoffSelf
    if all(info.id != target for info in roster):
        raise errors.DeviceUnknown("the account has no such device to hand over to")
    if log.active is not None and source != log.active:
        raise errors.StaleOwner("only the active device offers the session; to get it, take it")
    if target == log.active:
        raise errors.HandoffSelf("the target is the active device already")
    if log.offer is not None and log.offer_ends_at > now_ms:
        raise errors.HandoffBusy("an offer waits already; cancel it first")
    note = HandoffNote(
        id=HandoffId(handoff),
        mode="offer",
        source=DeviceId(source) if source else None,
        target=DeviceId(target),
        expires_at=expires_at,
    )
    return Entry(version=log.version + 1, kind="offer", at=now_ms, device=source, handoff=note)


def standing_offer(log: SessionLog, handoff: str, now_ms: int) -> HandoffNote:
    """The offer that waits under this id. Raises HandoffUnknown, HandoffExpired."""
    note = log.offer
    if note is None or note.id != handoff:
        raise errors.HandoffUnknown
    if log.offer_ends_at <= now_ms:
        raise errors.HandoffExpired
    return note


def transfer(
    log: SessionLog,
    note: HandoffNote,
    *,
    device: str,
    heard_at: int | None,
    is_source_online: bool,
    silent_ms_max: int,
    limits: Limits,
    now_ms: int,
) -> Entry:
    """The `handoff` entry that makes ``note.target`` the active device.

    ``heard_at``: when the source was last heard, None when nobody can say: then its last word is what it wrote into
    the log, for what others wrote says nothing of it. ``is_source_online``: it is connected. The
    playhead of a source heard within two heartbeats goes on; of another it is taken up where it was when last heard.
    The uncertainty is the source's silence in ms of playing, and 0 for one that is online and was heard within
    ``silent_ms_max``. Raises SessionEnded.
    """
    check_takeable(log)
    ops = []
    uncertainty_ms = 0
    anchor = of_state(log.state, rate_max=limits.rate_max)
    if anchor is not None and anchor.rate > 0 and log.active is not None and log.active != note.target:
        evidence = max(anchor.at, _last_word(log, log.active), heard_at or 0)
        silent_ms = max(0, now_ms - evidence)
        is_dead = silent_ms > 2 * limits.heartbeat_ms
        there = anchor.position_at(evidence if is_dead else now_ms)
        # Written down even where it just goes on: what was only reckoned so far is known from here on, so that the
        # new owner, whose player may never start, cannot fall behind it.
        carried = Anchor(there, anchor.rate, now_ms, anchor.duration)
        ops = [{"op": "replace", "path": POINTER, "value": carried.as_json()}]
        if not is_source_online or silent_ms > silent_ms_max:
            uncertainty_ms = int(silent_ms * anchor.rate)
    return Entry(
        version=log.version + 1,
        kind="handoff",
        at=now_ms,
        device=device,
        ops=ops,
        fence=log.fence + 1,
        active=note.target,
        handoff=HandoffNote(
            id=note.id,
            mode=note.mode,
            source=DeviceId(log.active) if log.active else None,
            target=note.target,
            uncertainty_ms=uncertainty_ms,
            began_at=note.began_at,
        ),
    )


def _last_word(log: SessionLog, device: str) -> int:
    """When ``device`` last wrote into the log, as far as it is held; 0 when it did not."""
    return next((entry.at for entry in reversed(log.entries) if entry.device == device and entry.seq), 0)


def withdraw(log: SessionLog, note: HandoffNote, *, device: str, reason: str, now_ms: int) -> Entry:
    """The `withdraw` entry that ends the waiting offer; nothing else changes."""
    over = HandoffNote(id=note.id, mode=note.mode, source=note.source, target=note.target, reason=reason)
    return Entry(version=log.version + 1, kind="withdraw", at=now_ms, device=device, handoff=over)


def expires_at(asked_ms: int | None, *, is_here: bool, limits: Limits, now_ms: int) -> int:
    """When an offer ends: soon for a target that is here, later for one that must be woken; never past the cap."""
    if asked_ms is None:
        asked_ms = limits.handoff_ready_ms if is_here else limits.handoff_offer_ms
    return now_ms + min(asked_ms, limits.handoff_offer_ms_max)
