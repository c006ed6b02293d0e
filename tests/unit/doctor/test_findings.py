"""Each check with a planted fault that turns it red, and without it: a doctor who never finds anything is none."""

from __future__ import annotations

import os
import resource
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from syncbridge import __version__
from syncbridge.adapters.embedded.directory import DATABASE, MARK
from syncbridge.adapters.embedded.store import SqliteStore
from syncbridge.auth import AuthRules
from syncbridge.config import ConfigError, Settings
from syncbridge.core.ids import AccountId
from syncbridge.core.log import founding
from syncbridge.doctor import (
    Finding,
    certificates,
    clock,
    configuration,
    examine,
    exit_code,
    keys,
    machine,
    pages,
    storage,
    versions,
)
from syncbridge.doctor import service as running
from syncbridge.limits import Limits
from syncbridge.net.tls import Certificate
from syncbridge.ports import Outcome
from syncbridge.records import Schema, open_records
from syncbridge.runtime.clock import ServerClock
from syncbridge.wire.codec import encode_entry

NOW_MS = 1_790_000_000_000
DAY_MS = 86_400_000


def settings(folder: Path, **more: object) -> Settings:
    return Settings(data_dir=folder / "data", **more)  # type: ignore[arg-type]


def bad(findings: Iterator[Finding] | list[Finding]) -> list[tuple[str, str]]:
    """(severity, found) of everything that is not well; each says what it means and what mends it."""
    found = [finding for finding in findings if finding.severity != "ok"]
    assert all(finding.meaning and finding.remedy for finding in found)
    return [(finding.severity, finding.found) for finding in found]


def only(findings: Iterator[Finding] | list[Finding], severity: str, part: str) -> None:
    ((told, found),) = bad(findings)
    assert told == severity
    assert part in found


@pytest.fixture
def kept(tmp_path: Path) -> Settings:
    """A data directory whose journal holds one session."""
    found = settings(tmp_path)
    answers: list[Outcome] = []
    store = SqliteStore(found.data_dir, ServerClock(), lambda call: call(), limits=Limits())
    snapshot, first = founding(
        {"a": 1}, session="s1", account=AccountId("ann"), kind="custom", title="", epoch="e", device="", now_ms=NOW_MS
    )
    store.create(snapshot, first, encode_entry(first), answers.append)
    store.close()
    assert len(answers) == 1
    return found


# -- configuration ----------------------------------------------------------------------------------------------


def test_a_configuration_as_it_comes_is_well(tmp_path: Path) -> None:
    assert bad(configuration.check_configuration(settings(tmp_path))) == []


@pytest.mark.parametrize(
    ("keys", "severity", "part"),
    [
        ({"host": "0.0.0.0", "public_url": "https://x", "metrics_port": 9}, "warning", "without TLS"),
        ({"host": "0.0.0.0", "trusted_proxies": "10.0.0.1", "metrics_port": 9}, "warning", "public_url is empty"),
        ({"host": "0.0.0.0", "trusted_proxies": "10.0.0.1", "public_url": "https://x"}, "warning", "/metrics is on"),
        ({"log_level": "debug"}, "warning", "log_level is debug"),
        ({"auth": AuthRules(argon2_memory_kib=8)}, "warning", "argon2id with 8 KiB"),
        ({"session_types": {"swim": {"policies": {"/laps": "most"}}}}, "problem", "session_types.swim"),
    ],
)
def test_a_risky_configuration_is_told(tmp_path: Path, keys: dict[str, object], severity: str, part: str) -> None:
    only(configuration.check_configuration(settings(tmp_path, **keys)), severity, part)


def test_a_configuration_that_cannot_be_used_is_a_problem_a_line() -> None:
    findings = list(configuration.refused(ConfigError("port: too high\nhots: no such key")))
    assert bad(findings) == [("problem", "port: too high"), ("problem", "hots: no such key")]


# -- storage ----------------------------------------------------------------------------------------------------


def test_a_directory_that_is_not_there_yet_is_well(tmp_path: Path) -> None:
    assert bad(storage.check_storage(settings(tmp_path))) == []


def test_a_journal_as_it_was_left_is_well_and_is_not_changed(kept: Settings) -> None:
    before = {file.name: file.read_bytes() for file in kept.data_dir.iterdir() if file.name in (DATABASE, MARK)}
    assert bad(storage.check_storage(kept)) == []
    assert {name: (kept.data_dir / name).read_bytes() for name in before} == before
    assert [file.name for file in kept.data_dir.iterdir() if file.name.startswith("doctor")] == []


def test_a_file_in_its_place_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    only(storage.check_storage(settings(tmp_path)), "problem", "is no directory")


def test_a_directory_that_others_may_read_is_told(kept: Settings) -> None:
    kept.data_dir.chmod(0o755)
    only(storage.check_storage(kept), "warning", "has mode 0755")


@pytest.mark.parametrize(("free", "severity"), [(10, "problem"), (500, "warning")])
def test_too_little_room_is_told(tmp_path: Path, free: int, severity: str) -> None:
    only(storage.judge_room(tmp_path, free * storage.MIB), severity, f"{free} MiB free")


@pytest.mark.parametrize(("taken", "severity"), [([25.0] * 5, "warning"), ([1.0, 300.0, 300.0], "problem")])
def test_a_slow_disk_is_told(taken: list[float], severity: str) -> None:
    only([storage.judge_sync(taken)], severity, "a sync takes")


def test_a_row_that_was_changed_on_disk_is_told(kept: Settings) -> None:
    db = sqlite3.connect(kept.data_dir / DATABASE)
    db.execute("UPDATE journal SET bodies = CAST(replace(bodies, '1', '2') AS BLOB)")
    db.commit()
    db.close()
    only(storage.check_storage(kept), "problem", "fails its checksum")


def test_a_session_that_is_set_aside_is_told(kept: Settings) -> None:
    db = sqlite3.connect(kept.data_dir / DATABASE)
    db.execute("INSERT INTO set_aside VALUES ('s1', 1, 'a row was torn')")
    db.commit()
    db.close()
    only(storage.check_storage(kept), "problem", "session s1 is set aside: a row was torn")


def test_a_journal_that_lost_its_end_is_told(kept: Settings) -> None:
    mark = (kept.data_dir / MARK).read_bytes().split()
    from syncbridge.adapters.embedded.directory import DataDirectory

    directory = DataDirectory(kept.data_dir)
    directory.write_mark(mark[0].decode(), 99)
    directory.close()
    only(storage.check_storage(kept), "problem", "its mark says 99")


def test_a_journal_that_is_gone_is_told(kept: Settings) -> None:
    (kept.data_dir / DATABASE).unlink()
    only(storage.check_storage(kept), "problem", "is gone; its mark says")


def test_a_journal_that_is_none_is_told(kept: Settings) -> None:
    (kept.data_dir / DATABASE).write_bytes(b"no database, for once" * 100)
    only(storage.check_storage(kept), "problem", "is damaged")


def test_a_journal_of_a_newer_program_is_told(kept: Settings) -> None:
    db = sqlite3.connect(kept.data_dir / DATABASE)
    db.execute("PRAGMA user_version = 99")
    db.close()
    only(storage.check_storage(kept), "problem", "schema version 99")


def test_a_write_ahead_log_that_grows_is_told(kept: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "WAL_WARNING", -1)
    assert all(severity == "warning" for severity, _ in bad(storage.check_storage(kept)))
    assert bad(storage.check_storage(kept))


# -- records and keys -------------------------------------------------------------------------------------------


async def test_records_of_this_program_are_well(tmp_path: Path) -> None:
    found = settings(tmp_path)
    records = await open_records(found.records_url)
    await records.keys.ensure(NOW_MS)
    await records.close()
    findings = await keys.check_records(found)
    assert [finding.severity for finding in findings if finding.check == keys.RECORDS] == ["ok", "ok"]
    assert any(finding.found.startswith("key ") for finding in findings)


async def test_records_that_are_no_database_are_told(tmp_path: Path) -> None:
    found = settings(tmp_path)
    found.data_dir.mkdir(mode=0o700)
    (found.data_dir / "records.db").write_text("no database, for once")
    only(await keys.check_records(found), "problem", "they cannot be read")


@pytest.mark.parametrize(
    ("found", "in_file", "in_server"),
    [
        (Schema("absent"), "warning", "problem"),
        (Schema("older", "0001"), "warning", "problem"),
        (Schema("newer", "9999", "0002"), "warning", "warning"),
        (Schema("foreign", "9999", "9000"), "problem", "problem"),
    ],
    ids=lambda one: one.state if isinstance(one, Schema) else one,
)
def test_another_schema_is_told(found: Schema, in_file: str, in_server: str) -> None:
    only(keys.judge_schema(found, is_server=False), in_file, f"schema revision {found.revision or 'none'}")
    only(keys.judge_schema(found, is_server=True), in_server, f"schema revision {found.revision or 'none'}")


def test_an_old_postgresql_is_told() -> None:
    only(keys.judge_server((12, 9)), "warning", "PostgreSQL 12.9")
    assert bad(keys.judge_server((15, 4))) == []


# -- certificate ------------------------------------------------------------------------------------------------


def test_a_certificate_for_its_name_is_well_and_another_s_key_is_a_problem(tmp_path: Path) -> None:
    authority = trustme.CA()
    for name in ("one", "two"):
        issued = authority.issue_cert("sync.example.com")
        issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / f"{name}.pem")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        (tmp_path / f"{name}.key").chmod(0o600)
    good = {"tls_certificate": tmp_path / "one.pem", "tls_key": tmp_path / "one.key"}
    at = {"public_url": "https://sync.example.com"}
    assert bad(certificates.check_certificate(settings(tmp_path, **good, **at))) == []
    only(
        certificates.check_certificate(settings(tmp_path, **{**good, "tls_key": tmp_path / "two.key"}, **at)),
        "problem",
        "cannot be used",
    )
    (tmp_path / "one.key").chmod(0o644)
    only(certificates.check_certificate(settings(tmp_path, **good, **at)), "warning", "has mode 0644")
    only(certificates.check_certificate(settings(tmp_path, tls_certificate=tmp_path / "no.pem")), "problem", "no.pem")


def certificate(*names: str, begins: int = -1, ends: int = 60) -> Certificate:
    return Certificate(names, NOW_MS + begins * DAY_MS, NOW_MS + ends * DAY_MS, 1)


@pytest.mark.parametrize(
    ("begins", "ends", "severity"), [(-9, -1, "problem"), (1, 60, "problem"), (-9, 20, "warning"), (-9, 60, "ok")]
)
def test_a_certificate_out_of_its_dates_is_told(begins: int, ends: int, severity: str) -> None:
    assert certificates.judge_dates(certificate("x", begins=begins, ends=ends), NOW_MS).severity == severity


@pytest.mark.parametrize(
    ("names", "severity"),
    [
        (("a.example.com",), "ok"),
        (("*.example.com",), "ok"),
        (("*.a.example.com",), "problem"),
        (("b.example.com", "example.com"), "problem"),
        ((), "problem"),
    ],
)
def test_a_certificate_for_other_names_is_told(names: tuple[str, ...], severity: str) -> None:
    (finding,) = certificates.judge_names(certificate(*names), "https://a.example.com/x")
    assert finding.severity == severity


# -- clock, machine, versions -------------------------------------------------------------------------------------


def test_a_clock_that_nobody_keeps_or_that_jumps_is_told() -> None:
    only([clock.judge_sync(5)], "warning", "nothing keeps it")
    only([clock.judge_jump(3_600_000)], "warning", "it jumped by 1 h")
    assert bad([clock.judge_sync(0), clock.judge_sync(None), clock.judge_jump(0.4)]) == []


def test_the_kernel_s_clock_can_be_asked() -> None:
    assert clock.kernel_state() in (None, *range(6))


def test_a_clock_behind_the_newest_entry_is_told(kept: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bad(clock.judge_stored(NOW_MS, NOW_MS + 1)) == []
    only(clock.judge_stored(NOW_MS + DAY_MS, NOW_MS), "problem", "the newest entry is of")
    monkeypatch.setattr(time, "time_ns", lambda: (NOW_MS - DAY_MS) * 1_000_000)
    assert any("the newest entry is of" in found for _, found in bad(clock.check_clock(kept)))


@pytest.mark.parametrize(
    ("soft", "hard", "severity", "remedy"),
    [
        (1024, 1_048_576, "problem", "ulimit -n 10640"),
        (1024, 4096, "problem", "hard limit"),
        (65_536, 65_536, "ok", ""),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, "ok", ""),
    ],
)
def test_too_few_open_files_are_told(soft: int, hard: int, severity: str, remedy: str) -> None:
    finding = machine.judge_files(soft, hard, 10_640)
    assert finding.severity == severity
    assert remedy in finding.remedy


def test_a_machine_that_is_too_small_is_told(tmp_path: Path) -> None:
    only(machine.judge_memory(256 * machine.MIB, 10_000), "warning", "256 MiB of memory")
    only(machine.judge_backlog(128, 2048), "warning", "somaxconn is 128")
    only([machine.judge_processors(1)], "warning", "1 processor")
    assert bad([*machine.judge_memory(2**33, 10_000), *machine.judge_backlog(4096, 2048)]) == []
    (tmp_path / "meminfo").write_text("MemTotal:       2048 kB\n")
    for text, total in (("max\n", 2**21), ("1048576\n", 2**20)):
        (tmp_path / "group").write_text(text)
        assert machine.memory_bytes(tmp_path / "meminfo", tmp_path / "group") == total


def test_wrong_versions_are_told() -> None:
    only([versions.judge_core(False)], "problem", "plain core")
    only([versions.judge_sqlite((3, 30, 0))], "problem", "SQLite 3.30.0")
    only([versions.judge_openssl("OpenSSL 1.1.1w", (1, 1, 1))], "warning", "1.1.1w")
    only(versions.judge_packages({"picows": "2.4.0", "uvicorn": "0.54.9"}), "problem", "picows 2.4.0")
    assert bad(versions.check_versions()) == []


# -- a running service ------------------------------------------------------------------------------------------


def told(code: int = 200, **members: object) -> running.Told:
    up = {"status": "up", "is_critical": True, "latency_ms": 1.0}
    report = {"status": "healthy", "version": __version__, "uptime_s": 5.0, "dependencies": {"session_store": up}}
    return running.Told(code, {**report, **members})


def test_a_service_that_is_well_is() -> None:
    assert bad(running.judge_health(told())) == []


@pytest.mark.parametrize(
    ("answer", "severity", "part"),
    [
        (told(503, status="unhealthy"), "problem", "unhealthy"),
        (told(status="draining"), "warning", "draining"),
        (told(version="0.0.1"), "warning", "it runs 0.0.1"),
        (told(dependencies={"records": {"status": "down", "latency_ms": 1}}), "problem", "records is down"),
        (told(dependencies={"records": {"status": "up", "latency_ms": 900}}), "warning", "asked in 900.0 ms"),
        (running.Told(200, {}), "problem", "is not SyncBridge"),
    ],
)
def test_a_service_that_is_not_well_is_told(answer: running.Told, severity: str, part: str) -> None:
    only(running.judge_health(answer), severity, part)


@pytest.mark.parametrize(
    ("url", "part"),
    [("http://127.0.0.1:9", "does not answer"), ("file:///etc/passwd", "is no address"), ("http://x:y", "not answer")],
)
def test_an_address_that_leads_nowhere_is_told(url: str, part: str) -> None:
    only(running.check_service(url), "problem", part)


# -- the whole --------------------------------------------------------------------------------------------------


async def test_a_check_that_breaks_is_a_finding_and_the_others_go_on(
    kept: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_path: Path) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(storage, "timed_syncs", broken)
    findings = await examine(kept)
    assert ("problem", "it could not be looked at: RuntimeError: boom") in bad(findings)
    assert {finding.check for finding in findings} >= {"versions", "config", "storage", "records", "clock", "machine"}


def test_how_it_ends_follows_the_gravest_finding() -> None:
    fine, warned, broken = (
        Finding("x", "ok", "a"),
        Finding("x", "warning", "b", "m", "r"),
        Finding("x", "problem", "c", "m", "r"),
    )
    assert [exit_code(found) for found in ([], [fine], [fine, warned], [warned, broken, fine])] == [0, 0, 1, 2]
    page = pages.findings_page([fine, broken])
    assert [word in page for word in ("PROBLEM", "-> r")] == [True] * 2
    assert page.endswith("\n1 ok, 0 warnings, 1 problem")
    assert pages.findings_page([warned, broken, broken]).endswith("\n0 ok, 1 warning, 2 problems")


def test_a_directory_of_somebody_else_is_told(kept: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    only(storage.check_storage(kept), "problem", "cannot be written by this user")
