"""What the checkers take for broken, and what they do not: each verdict on a log made for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from syncbridge.core.entry import Entry, Txn
from syncbridge.core.ids import Op, TxnId
from syncbridge.core.log import founding
from tests.sim.app import FOUNDING
from tests.sim.check_deeds import check_deed
from tests.sim.check_log import LogChecker
from tests.sim.deeds import Deed
from tests.sim.node import ACCOUNT
from tests.sim.simulation import SESSION
from tests.sim.truth import TrueLog, Truth
from tests.sim.world import START_MS, Violation, World


class Unwatched:
    """Judges entries at once where a checker is given, and nothing else."""

    def __init__(self, checker: LogChecker | None = None) -> None:
        self._checker = checker

    def on_commit(self, log: TrueLog, entries: list[Entry], txn: TxnId) -> None:
        for entry in entries:
            if self._checker is not None:
                self._checker.on_entry(log, entry)

    def on_moved(self, log: TrueLog) -> None:
        """Nothing moves here."""

    def on_rebuilt(self, log: TrueLog) -> None:
        """Nothing is rebuilt here."""


class Nobody:
    """No device was ever there."""

    def is_heard(self, device: str) -> bool:
        return False

    def died_ms(self, device: str) -> int | None:
        return None

    def transit_ms(self) -> int:
        return 0


def truth_of(*, checker: LogChecker | None = None) -> Truth:
    truth = Truth(World(1), Unwatched(checker), is_shared=True)
    state = {**FOUNDING, "playhead": {"position": 0, "rate": 0, "at": START_MS}}
    kind = {"session": SESSION, "account": ACCOUNT, "kind": "custom", "title": "", "epoch": "e1", "device": "d0"}
    truth.create(*founding(state, **kind, now_ms=START_MS))
    return truth


def commit(truth: Truth, ops: Sequence[Op], *, name: str = "", **fields: Any) -> None:
    log = truth.logs[SESSION]
    entry = Entry(log.version + 1, fields.pop("kind", "patch"), START_MS + log.version, ops=list(ops), **fields)
    txn = Txn(TxnId(name or f"t{entry.version}"), SESSION, ACCOUNT, log.epoch, log.version, [entry], [0], "active")
    truth.commit(txn)


def replace(path: str, value: Any) -> Op:
    return {"op": "replace", "path": path, "value": value}


def deed(what: str, path: str, value: Any, version: int) -> Deed:
    return Deed("d0", 1, what, path, value, None, START_MS, version=version)


def test_an_item_that_stays_though_it_was_removed_is_seen() -> None:
    truth = truth_of()
    commit(truth, [], device="d0")
    with pytest.raises(Violation, match="left its item"):
        check_deed(truth.logs[SESSION], deed("remove", "/list", "l1", 2), [])


def test_an_item_that_another_removed_first_and_a_restore_brought_back_is_no_lost_removal() -> None:
    truth = truth_of()
    commit(truth, [{"op": "remove", "path": "/list/0"}], device="d1")
    commit(truth, [{"op": "add", "path": "/list/0", "value": "l1"}], kind="restore")
    commit(truth, [], device="d0")
    check_deed(truth.logs[SESSION], deed("remove", "/list", "l1", 4), [])


def test_a_best_that_fell_is_seen() -> None:
    truth = truth_of()
    commit(truth, [], device="d0")
    with pytest.raises(Violation, match="the best fell"):
        check_deed(truth.logs[SESSION], deed("best", "/best/calm", 7, 2), [])


@pytest.mark.parametrize("is_listed", [False, True])
@pytest.mark.parametrize("stood", [7, 9], ids=["its equal", "a higher one"])
def test_a_best_is_not_lost_to_its_equal_nor_unlisted_to_a_higher_one(stood: int, *, is_listed: bool) -> None:
    truth = truth_of()
    commit(truth, [replace("/best/calm", stood)], device="d1")
    commit(truth, [replace("/best/calm", 0)], kind="restore")
    commit(truth, [], device="d0")
    rows: list[Any] = [{"path": "/best/calm", "winner": "theirs", "ours": 7, "theirs": stood}] if is_listed else []
    if stood == 7 or is_listed:
        check_deed(truth.logs[SESSION], deed("best", "/best/calm", 7, 4), rows)
    else:
        with pytest.raises(Violation, match="the best fell"):
            check_deed(truth.logs[SESSION], deed("best", "/best/calm", 7, 4), rows)


def test_an_edit_over_rest_that_took_effect_twice_is_seen() -> None:
    truth = truth_of(checker=LogChecker(Nobody()))
    commit(truth, [{"op": "add", "path": "/rest", "value": 1}])
    commit(truth, [replace("/rest", 2)])
    with pytest.raises(Violation, match="P5"):
        commit(truth, [replace("/rest", 1)])
