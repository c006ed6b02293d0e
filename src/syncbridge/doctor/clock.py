"""The clock: whether it is kept, whether it jumps now, and whether it has gone back behind what is stored."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator

from syncbridge.adapters.embedded.directory import CannotOpen
from syncbridge.adapters.embedded.onlooker import looking_at
from syncbridge.config import Settings
from syncbridge.doctor.findings import Finding, ok, problem, warning
from syncbridge.story.words import moment, span

CHECK = "clock"
WATCHED_S = 0.2
JUMP_MS_MAX = 20.0
BACK_MS_MAX = 60_000
_ERROR = 5  # TIME_ERROR of adjtimex(2): the kernel's clock is not synchronised
_SET = "start an NTP client (chrony, systemd-timesyncd)"


def check_clock(settings: Settings) -> Iterator[Finding]:
    """Every finding about the clock of this machine."""
    yield judge_sync(kernel_state())
    yield judge_jump(watched_jump())
    try:
        with looking_at(settings.data_dir, settings.limits) as journal:
            newest_at = journal.newest_at()
    except CannotOpen:
        return  # storage tells
    yield from judge_stored(newest_at, time.time_ns() // 1_000_000)


def kernel_state() -> int | None:
    """What adjtimex(2) says of the kernel's clock, without setting anything; None where it cannot be asked."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    # `struct timex` has 208 bytes on every 64-bit Linux; all zero means: set nothing.
    state = adjtimex(ctypes.create_string_buffer(512))
    return None if state < 0 else int(state)


def judge_sync(state: int | None) -> Finding:
    """Somebody keeps the clock."""
    if state is None:
        return ok(CHECK, "the kernel does not say whether it is kept")
    if state == _ERROR:
        return warning(
            CHECK,
            "nothing keeps it",
            "It drifts: tokens of other issuers are refused, times are wrong. No change is ordered by it.",
            _SET,
        )
    return ok(CHECK, "kept by an NTP client")


def watched_jump(seconds: float = WATCHED_S) -> float:
    """By how many ms wall time went another way than monotonic time, while watched."""
    wall, steady = time.time(), time.monotonic()
    time.sleep(seconds)
    return abs((time.time() - wall) - (time.monotonic() - steady)) * 1000


def judge_jump(jump_ms: float) -> Finding:
    """It does not jump just now."""
    if jump_ms > JUMP_MS_MAX:
        return warning(
            CHECK,
            f"it jumped by {span(jump_ms)} while watched",
            "Something sets it again and again.",
            "run one NTP client alone, and let it slew",
        )
    return ok(CHECK, "it does not jump")


def judge_stored(newest_at: int, now_ms: int) -> Iterator[Finding]:
    """It has not gone back behind the newest entry."""
    if newest_at - now_ms > BACK_MS_MAX:
        yield problem(
            CHECK,
            f"it says {moment(now_ms)}; the newest entry is of {moment(newest_at)}",
            "It went back, or was far ahead: what devices stamp now counts as old, until it is past that time.",
            _SET,
        )
