"""The short way to a device's own context gives what the long way gives, on any schedule of two writers."""

from __future__ import annotations

from collections import deque
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from syncbridge._ext import equal
from syncbridge.core.admission import Change, Verdict, admit
from syncbridge.core.context import work_of
from syncbridge.core.log import SessionLog, Work, founding
from syncbridge.core.session_types import SESSION_TYPES
from syncbridge.errors import SyncBridgeError
from syncbridge.limits import Limits

NOW_MS = 1_790_000_000_000
KIND = SESSION_TYPES["breathing"]
LIMITS = Limits()

ops = st.sampled_from(
    [
        [{"op": "add", "path": "/marks/-", "value": {"id": "m"}}],
        [{"op": "add", "path": "/marks/0", "value": {"id": "n"}}],
        [{"op": "remove", "path": "/marks/0"}],
        [{"op": "replace", "path": "/totals/breaths", "value": 3}],
        [{"op": "replace", "path": "/totals/breaths", "value": 4}],
        [{"op": "replace", "path": "/settings/volume", "value": 7}],
        [{"op": "add", "path": "/notes", "value": "calm"}],
        [],
    ]
)
steps = st.lists(st.tuples(st.sampled_from(["phone", "phone", "phone", "tv"]), st.integers(0, 6), ops), max_size=25)


def a_log() -> SessionLog:
    snapshot, _ = founding(
        KIND.initial_state(),
        session="s",
        account="a",
        kind="breathing",
        title="",
        epoch="e",
        device="phone",
        now_ms=NOW_MS,
    )
    return SessionLog(snapshot, LIMITS)


def without_runs(works: dict[str, deque[Work]]) -> dict[str, deque[Work]]:
    return {device: deque(_without_run(one) for one in own) for device, own in works.items()}


def _without_run(one: Work) -> Work:
    same = Work(one.version, one.base, one.ops)
    same.carried, same.guessed = one.carried, one.guessed
    return same


def judged(log: SessionLog, change: Change) -> Verdict | str:
    try:
        return admit(log, change, KIND, LIMITS, NOW_MS)
    except SyncBridgeError as fault:
        return fault.code


@settings(max_examples=300, deadline=None)
@given(steps)
def test_a_base_within_a_devices_own_run_means_what_the_long_way_finds(schedule: list[tuple[str, int, Any]]) -> None:
    log = a_log()
    seqs = {"phone": 0, "tv": 0}
    bases = {"phone": 1, "tv": 1}
    for device, lag, made in schedule:
        # A device's base never goes back: what it has heard of it does not forget.
        base = bases[device] = max(bases[device], log.version - lag)
        change = Change(device, seqs[device] + 1, base, made, "edit", NOW_MS, None)
        short = judged(log, change)
        works, log.works = log.works, without_runs(log.works)
        long = judged(log, change)
        log.works = works
        if isinstance(short, str) or isinstance(long, str):
            assert short == long
            continue
        assert equal(short.entry.ops, long.entry.ops)
        assert equal(short.state, long.state)
        assert short.is_as_made == long.is_as_made
        assert short.entry.conflicts == long.entry.conflicts
        seqs[device] += 1
        work = work_of(log, device, short.entry.version, base, made, short.queue)
        log.append(short.entry, 0, short.state, short.size)
        log.remember(device, work, is_as_made=short.is_as_made)


def test_a_device_that_writes_on_alone_is_judged_on_the_head_itself() -> None:
    log = a_log()
    for seq in range(1, 6):
        change = Change(
            "phone", seq, 1, [{"op": "replace", "path": "/settings/volume", "value": seq}], "edit", NOW_MS, None
        )
        verdict = admit(log, change, KIND, LIMITS, NOW_MS)
        assert verdict.is_as_made
        log.append(verdict.entry, 0, verdict.state, verdict.size)
        log.remember("phone", Work(verdict.entry.version, 1, change.ops), is_as_made=True)
    assert log.works["phone"][-1].run == 5
