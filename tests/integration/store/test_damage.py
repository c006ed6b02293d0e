"""Torn, flipped, swapped, lost: each is found, said, and never served; what is sound lives on."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from syncbridge.adapters.embedded import CannotOpen
from syncbridge.core.ids import SessionId
from syncbridge.limits import Limits
from syncbridge.ports import StoredLog, StoreFault, WasCommitted, WasRefused
from tests.conformance.harness import SqliteHarness
from tests.conformance.logs import change, create, entries, load, loaded, snapshot_of, stretch, submit
from tests.integration.store.conftest import SESSIONS, truth

Held = tuple[Path, dict[str, StoredLog]]
Damage = Callable[[Path], None]


def open_at(path: Path, *, accept_loss: bool = False) -> SqliteHarness:
    return SqliteHarness(path, Limits(), 20_000, accept_loss=accept_loss)


def flip(path: Path, offset: int, mask: int = 0x40) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= mask
    path.write_bytes(content)


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def replace(path: Path, content: bytes) -> None:
    database(path).write_bytes(content)


def wal(path: Path) -> Path:
    return path / "sessions.db-wal"


def database(path: Path) -> Path:
    return path / "sessions.db"


def sql(statement: str) -> Damage:
    def run(path: Path) -> None:
        db = sqlite3.connect(database(path), isolation_level=None)
        db.execute(statement)
        db.close()

    return run


def flip_in(path: Path, needle: bytes) -> None:
    content = database(path).read_bytes()
    places = [place for place in range(len(content)) if content.startswith(needle, place)]
    assert places, "the bytes to damage are not in the file"
    for place in places:
        flip(database(path), place + len(needle) - 1)


def swap_in_another_store(path: Path) -> None:
    other = SqliteHarness(path.parent / "other", Limits(), 20_000)
    other.close()
    database(path).write_bytes((path.parent / "other" / "sessions.db").read_bytes())


TORN: dict[str, tuple[Damage, str]] = {
    "write-ahead log gone": (lambda path: wal(path).unlink(), "acknowledged transactions are missing"),
    "write-ahead log empty": (lambda path: cut(wal(path), 0), "acknowledged transactions are missing"),
    "write-ahead log cut in half": (
        lambda path: cut(wal(path), wal(path).stat().st_size // 2),
        "acknowledged transactions are missing",
    ),
    "byte flipped in the write-ahead log": (
        lambda path: flip(wal(path), wal(path).stat().st_size // 2),
        "acknowledged transactions are missing",
    ),
    "write-ahead log's header flipped": (lambda path: flip(wal(path), 17), "acknowledged transactions are missing"),
}

REFUSED: dict[str, tuple[Damage, str]] = {
    "database gone": (lambda path: database(path).unlink(), "is gone"),
    "database empty": (lambda path: cut(database(path), 0), "is gone"),
    "database cut by a page": (lambda path: cut(database(path), database(path).stat().st_size - 4096), "is damaged"),
    "database cut in half": (lambda path: cut(database(path), database(path).stat().st_size // 2), "is damaged"),
    "not a database": (lambda path: replace(path, b"GIF89a" * 4096), "not a database"),
    "another store's database": (swap_in_another_store, "not the file that its mark was written for"),
    "trigger gone": (sql("DROP TRIGGER journal_moves_head"), "does not have the tables it was made with"),
    "newer schema": (sql("PRAGMA user_version = 99"), "schema version 99, this program knows versions up to 3"),
}

SET_ASIDE: dict[str, tuple[Damage, str]] = {
    "entry flipped": (lambda path: flip_in(path, b"session-two-name-41"), "fails its checksum"),
    "row deleted": (
        sql("DELETE FROM journal WHERE session = 'session-two' AND first = 40"),
        "does not follow row",
    ),
    "last row deleted": (
        sql("DELETE FROM journal WHERE session = 'session-two' AND first = 81"),
        "head's journal row is not there",
    ),
    "first row deleted": (
        sql("DELETE FROM journal WHERE session = 'session-two' AND first = 42"),
        "does not follow row",
    ),
    "row rewritten": (
        sql("UPDATE journal SET at = at + 1 WHERE session = 'session-two' AND first = 30"),
        "fails its checksum",
    ),
    "row of another session": (
        sql("UPDATE journal SET session = 'session-two' WHERE session = 'session-three' AND first = 30"),
        "fails its checksum",
    ),
    "head set back": (sql("UPDATE heads SET version = 80 WHERE session = 'session-two'"), "not what its journal row"),
    "head of another account": (
        sql("UPDATE heads SET account = 'eve' WHERE session = 'session-two'"),
        "not what its journal row",
    ),
    "head gone": (sql("DELETE FROM heads WHERE session = 'session-two'"), "there is no head"),
    "snapshot rewritten": (
        sql("UPDATE snapshots SET body = replace(body, 'ada', 'eve') WHERE session = 'session-two' AND version = 81"),
        "fails its checksum",
    ),
    "snapshots gone": (sql("DELETE FROM snapshots WHERE session = 'session-two'"), "there is no snapshot"),
}


@pytest.mark.parametrize("case", TORN)
def test_a_torn_write_ahead_log_is_refused_by_name(crashed: Held, case: str) -> None:
    path, _ = crashed
    damage, sentence = TORN[case]
    damage(path)
    for _ in range(2):
        with pytest.raises(CannotOpen, match=sentence):
            open_at(path)


@pytest.mark.parametrize("case", REFUSED)
def test_a_damaged_file_is_refused_by_name(folded: Held, case: str) -> None:
    path, _ = folded
    damage, sentence = REFUSED[case]
    damage(path)
    for _ in range(2):
        with pytest.raises(CannotOpen, match=sentence):
            open_at(path)


def test_a_crash_that_tore_nothing_is_opened_whole(crashed: Held) -> None:
    path, held = crashed
    harness = open_at(path)
    assert truth(harness) == held
    harness.close()


@pytest.mark.parametrize("case", SET_ASIDE)
def test_a_damaged_session_is_set_aside_and_said_once_while_others_live(folded: Held, case: str) -> None:
    path, held = folded
    damage, sentence = SET_ASIDE[case]
    damage(path)
    hurt = SessionId("session-two")
    with capture_logs() as lines:
        for _ in range(2):
            harness = open_at(path)
            for _ in range(2):
                fault = load(harness, hurt, 10**9)
                assert isinstance(fault, StoreFault)
                assert fault.code == "state_damaged"
            late = change(hurt, 81)
            assert submit(harness, late) == [WasRefused(late.txn.id, "state_damaged")]
            if case != "row of another session":
                assert load(harness, SessionId("session-three"), 10**9) == held["session-three"]
            assert load(harness, SessionId("session-one"), 10**9) == held["session-one"]
            harness.close()
    said = [line for line in lines if line["event"] == "session_set_aside" and line["session"] == hurt]
    assert len(said) == 1
    assert sentence in said[0]["reason"]
    assert "restore" in said[0]["action"]


def test_damage_that_comes_while_the_store_is_open_is_found_when_it_is_read(folded: Held) -> None:
    path, held = folded
    harness = open_at(path)
    sql("UPDATE journal SET bodies = replace(bodies, 'phone', 'phony') WHERE session = 'session-two' AND first = 60")(
        path
    )
    fault = load(harness, SESSIONS[1], 10**9)
    assert isinstance(fault, StoreFault)
    assert fault.code == "state_damaged"
    late = change(SESSIONS[1], 81)
    assert submit(harness, late) == [WasRefused(late.txn.id, "state_damaged")]
    assert load(harness, SESSIONS[0], 10**9) == held[SESSIONS[0]]
    harness.close()


def test_no_flipped_byte_on_any_page_is_ever_served(folded: Held) -> None:
    path, held = folded
    whole = database(path).read_bytes()
    mark = (path / "sessions.mark").read_bytes()
    draw = random.Random(7)
    found = harmless = 0
    for page in range(len(whole) // 4096):
        for _ in range(6):
            for extra in path.glob("sessions.db*"):
                extra.unlink()
            database(path).write_bytes(whole)
            (path / "sessions.mark").write_bytes(mark)
            flip(database(path), page * 4096 + draw.randrange(4096), 1 << draw.randrange(8))
            try:
                with capture_logs():
                    harness = open_at(path)
            except CannotOpen:
                found += 1
                continue
            answers = {session: load(harness, session, 10**9) for session in SESSIONS}
            harness.close()
            for session, answer in answers.items():
                if isinstance(answer, StoreFault):
                    assert answer.code == "state_damaged"
                else:
                    assert answer == held[session]
            if answers == held:
                harmless += 1
            else:
                found += 1
    print(f"{found} flips found, {harmless} in bytes that hold nothing")
    assert found > harmless / 2


def test_a_file_torn_inside_its_last_page_never_serves_what_was_there(folded: Held) -> None:
    path, held = folded
    cut(database(path), database(path).stat().st_size - 100)
    with capture_logs() as lines:
        harness = open_at(path)
    answers = {session: load(harness, session, 10**9) for session in SESSIONS}
    harness.close()
    assert [line["event"] for line in lines] == ["session_set_aside"]
    hurt = lines[0]["session"]
    fault = answers.pop(hurt)
    assert isinstance(fault, StoreFault)
    assert fault.code == "state_damaged"
    assert answers == {session: held[session] for session in answers}


def accept_loss(path: Path, held: dict[str, StoredLog]) -> int:
    """How many sessions live on; each with entries that it had, under a new epoch, and takes new ones."""
    with capture_logs() as lines:
        harness = open_at(path, accept_loss=True)
    assert [line["event"] for line in lines].count("store_salvaged") == 1
    alive: dict[SessionId, StoredLog] = {}
    for session in SESSIONS:
        answer = load(harness, session, 10**9)
        if isinstance(answer, StoreFault):
            assert answer.code == "not_found"
            continue
        assert answer.snapshot.epoch != held[session].snapshot.epoch
        assert answer.entries == held[session].entries[: len(answer.entries)]
        later = change(session, 1 + len(answer.entries), epoch=answer.snapshot.epoch)
        assert submit(harness, later) == [WasCommitted(later.txn.id)]
        alive[session] = loaded(harness, session, 10**9)
    harness.reopen()
    assert {session: loaded(harness, session, 10**9) for session in alive} == alive
    harness.close()
    return len(alive)


@pytest.mark.parametrize("case", TORN)
def test_an_accepted_loss_of_the_tail_keeps_every_session_under_a_new_epoch(crashed: Held, case: str) -> None:
    path, held = crashed
    TORN[case][0](path)
    assert accept_loss(path, held) == len(SESSIONS)


@pytest.mark.parametrize("case", REFUSED)
def test_an_accepted_loss_keeps_only_what_can_be_verified_under_a_new_epoch(folded: Held, case: str) -> None:
    path, held = folded
    REFUSED[case][0](path)
    accept_loss(path, held)
    assert (path / "sessions.db").exists()


def test_a_stretch_over_a_row_that_was_damaged_meanwhile_is_not_served(tmp_path: Path) -> None:
    harness, session = open_at(tmp_path), SessionId("session-one")
    create(harness, session)
    submit(harness, *(change(session, version) for version in range(1, 40)))
    for version in (10, 20, 30):
        harness.store.write_snapshot(snapshot_of(session, version))
    assert len(stretch(harness, session, 0).entries) == 40
    sql("UPDATE journal SET bodies = replace(bodies, 'phone', 'money') WHERE first = 15")(tmp_path)
    assert [entry.version for entry in stretch(harness, session, 20, 3).entries] == [21, 22, 23]
    answer = entries(harness, session, 10, 10)
    assert isinstance(answer, StoreFault)
    assert answer.code == "state_damaged"
    assert isinstance(load(harness, session), StoreFault)
    harness.close()
