"""What entries are told as: which facts, in which order, under which ids, and without anybody's content."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncbridge.core import facts as told
from syncbridge.core.entry import Entry, HandoffNote, Kind, Status, Txn
from syncbridge.core.facts import FACT_KINDS, Change, Fact, change_of, decode_fact, encode_fact, facts, facts_of
from syncbridge.core.ids import AccountId, DeviceId, HandoffId, SessionId, TxnId

SESSION, ACCOUNT, EPOCH = SessionId("ses_1"), AccountId("acc_1"), "e1"
CANARY = "canary-of-the-state"


def of(*entries: Entry) -> list[Fact]:
    return facts_of(SESSION, ACCOUNT, EPOCH, entries, ready_ms=5_000)


def note(**members: Any) -> HandoffNote:
    return HandoffNote(
        HandoffId("h1"), **{"mode": "offer", "source": DeviceId("phone"), "target": DeviceId("tv")} | members
    )


CASES: dict[str, tuple[Entry, list[str]]] = {
    "create": (Entry(1, "create", 10, status="active", fence=1), ["session.created"]),
    "an ordinary edit": (Entry(2, "patch", 10, "phone", 1, [{"op": "add", "path": "/a", "value": 1}]), []),
    "pause": (Entry(3, "status", 10, status="paused"), ["session.paused"]),
    "resume": (Entry(3, "status", 10, status="active"), ["session.resumed"]),
    "archive": (Entry(3, "status", 10, status="archived"), ["session.archived"]),
    "a push that finishes": (Entry(3, "patch", 10, "phone", 2, status="completed"), ["session.completed"]),
    "restore that pauses": (Entry(3, "restore", 10, status="paused"), ["session.paused", "session.restored"]),
    "offer": (Entry(3, "offer", 10, "phone", handoff=note(expires_at=600_010)), ["handoff.offered"]),
    "handoff": (Entry(3, "handoff", 10, "tv", fence=2, active="tv", handoff=note()), ["session.handoff.completed"]),
    "withdraw": (Entry(3, "withdraw", 10, handoff=note(reason="expired")), ["session.handoff.failed"]),
    "conflict": (Entry(3, "patch", 10, "tv", 1, conflicts=[{"policy": "last"}]), ["session.conflict"]),
}


@pytest.mark.parametrize("name", CASES)
def test_each_kind_of_entry_is_told_as_what_it_is(name: str) -> None:
    entry, types = CASES[name]
    assert [fact.type for fact in of(entry)] == types


def test_every_type_of_the_table_has_its_own_name_and_form() -> None:
    names = [kind.name for kind in FACT_KINDS]
    assert len(set(names)) == len(names)
    made = {fact.type: fact for entry, _ in CASES.values() for fact in of(entry)}
    forms = {kind.name: kind.data for kind in FACT_KINDS}
    for name, fact in made.items():
        assert msgspec.to_builtins(msgspec.convert(fact.data, forms[name])) == fact.data
    elsewhere = {told.UPDATED, told.DELETED, told.DEVICE_JOINED, told.DEVICE_REMOVED, told.ACCOUNT_ERASED}
    assert set(names) - set(made) == elsewhere


def test_an_offer_for_a_device_that_is_here_wakes_nobody() -> None:
    here = of(Entry(3, "offer", 10, "phone", handoff=note(expires_at=5_010)))[0]
    away = of(Entry(3, "offer", 10, "phone", handoff=note(expires_at=600_010)))[0]
    assert (here.data["is_away"], away.data["is_away"]) == (False, True)


def test_a_conflict_is_told_by_numbers_and_policies() -> None:
    rows: list[dict[str, object]] = [
        {"path": f"/{CANARY}", "policy": "manual", "winner": "manual", "ours": CANARY, "theirs": CANARY},
        {"path": "/b", "policy": "last", "winner": "ours"},
        {"path": "/c", "policy": "last", "winner": "ours"},
    ]
    fact = of(Entry(4, "patch", 10, "tv", 1, conflicts=rows))[0]
    assert {key: fact.data[key] for key in ("conflicts", "undecided", "policies")} == {
        "conflicts": 3,
        "undecided": 1,
        "policies": ["last", "manual"],
    }


def test_edits_come_to_one_range_and_the_first_entry_to_none() -> None:
    entries = [CASES["create"][0], Entry(2, "patch", 20), Entry(3, "patch", 30)]
    assert change_of(SESSION, ACCOUNT, EPOCH, entries) == Change(SESSION, ACCOUNT, EPOCH, 2, 3, 20, 30)
    assert change_of(SESSION, ACCOUNT, EPOCH, entries[:1]) is None


def test_a_range_of_another_log_replaces_the_one_before() -> None:
    old = Change(SESSION, ACCOUNT, "e1", 2, 9, 20, 90)
    new = Change(SESSION, ACCOUNT, "e2", 2, 3, 95, 96)
    assert old.joined(new) == new


# -- laws -------------------------------------------------------------------------------------------------------

_conflict: st.SearchStrategy[dict[str, object]] = st.fixed_dictionaries(
    {
        "path": st.just(f"/{CANARY}"),
        "policy": st.sampled_from(["last", "manual"]),
        "winner": st.sampled_from(["ours", "manual"]),
        "ours": st.just(CANARY),
    }
)
_KINDS: tuple[Kind, ...] = ("patch", "offer", "withdraw", "handoff", "status", "restore")
_STATUSES: tuple[Status | None, ...] = (None, "active", "paused", "completed", "archived")


@st.composite
def logs(draw: st.DrawFn) -> list[Entry]:
    entries = [Entry(1, "create", 1, ops=[{"op": "add", "path": "", "value": {"a": CANARY}}], status="active")]
    for version in range(2, draw(st.integers(2, 12))):
        kind = draw(st.sampled_from(_KINDS))
        handoff = note(expires_at=9_999) if kind in ("offer", "withdraw", "handoff") else None
        status = draw(st.sampled_from(_STATUSES)) if kind in ("patch", "restore") else None
        status = "paused" if kind == "status" else status
        conflicts = draw(st.lists(_conflict, max_size=2)) if kind == "patch" else []
        ops = [{"op": "add", "path": f"/{CANARY}", "value": CANARY}]
        entries.append(
            Entry(version, kind, version * 10, "tv", version, ops, status=status, handoff=handoff, conflicts=conflicts)
        )
    return entries


@given(logs(), st.data())
def test_however_the_log_is_cut_the_facts_are_the_same_and_their_ids_their_own(
    log: list[Entry], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(log)))
    whole = of(*log)
    assert of(*log[:cut]) + of(*log[cut:]) == whole
    assert len({fact.id for fact in whole}) == len(whole)
    assert [fact.data["version"] for fact in whole] == sorted(fact.data["version"] for fact in whole)
    txn = Txn(TxnId("t"), SESSION, ACCOUNT, EPOCH, 0, log, [0] * len(log), "active")
    assert facts(txn, ready_ms=5_000) == whole


@given(logs(), st.data())
def test_ranges_join_to_the_range_of_the_whole(log: list[Entry], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(log)))
    parts = [change_of(SESSION, ACCOUNT, EPOCH, part) for part in (log[:cut], log[cut:])]
    joined: Change | None = None
    for part in parts:
        if part is not None:
            joined = part if joined is None else joined.joined(part)
    assert joined == change_of(SESSION, ACCOUNT, EPOCH, log)


@given(logs())
def test_a_fact_holds_nothing_of_the_state_and_comes_back_as_it_was_kept(log: list[Entry]) -> None:
    for fact in of(*log):
        body = encode_fact(fact)
        assert CANARY.encode() not in body
        assert decode_fact(body) == fact
