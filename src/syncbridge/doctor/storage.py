"""The data directory: who may read it, whether there is room, how fast it syncs, what the journal says of itself."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from syncbridge.adapters.embedded.directory import DATABASE, LOCK, CannotOpen, read_mark
from syncbridge.adapters.embedded.journal import NotThere
from syncbridge.adapters.embedded.onlooker import looking_at
from syncbridge.config import Settings
from syncbridge.doctor.findings import Finding, ok, problem, warning
from syncbridge.story.words import span

CHECK = "storage"
MIB = 1024 * 1024
FREE_PROBLEM = 64 * MIB
FREE_WARNING = 1024 * MIB
WAL_WARNING = 256 * MIB
"""A write-ahead log is folded in at a few MiB; one that grows is held by a reader that never ends."""
SYNC_WARNING_MS = 20.0
SYNC_PROBLEM_MS = 250.0
_SYNCS = 5
_BACKUP = "restore the whole data directory from a backup; docs/data.md, Damage and recovery"


def check_storage(settings: Settings) -> Iterator[Finding]:
    """Every finding about the data directory."""
    path = settings.data_dir
    if not path.exists():
        yield from _absent(path)
        return
    if not path.is_dir():
        yield problem(CHECK, f"{path} is no directory", "The service does not start.", "set another data_dir")
        return
    yield from judge_rights(path)
    yield from judge_room(path, shutil.disk_usage(path).free)
    if os.access(path, os.W_OK):
        yield judge_sync(timed_syncs(path))
    yield from _journal(settings)
    yield from _write_ahead_logs(path)
    yield _holder(path)


def _absent(path: Path) -> Iterator[Finding]:
    parent = next(one for one in (path.absolute().parent, *path.absolute().parents) if one.exists())
    if os.access(parent, os.W_OK):
        yield ok(CHECK, f"{path} is not there yet; the first start makes it")
    else:
        yield problem(
            CHECK,
            f"{path} cannot be made: {parent} is read-only",
            "The service does not start.",
            "set another data_dir",
        )


def judge_rights(path: Path) -> Iterator[Finding]:
    """The directory is its owner's alone, and this user's to write."""
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        yield warning(
            CHECK,
            f"{path} has mode {mode:04o}",
            "Other users of the machine read signing keys and people's data.",
            f"chmod 0700 {path}",
        )
    elif not os.access(path, os.W_OK | os.X_OK):
        yield problem(
            CHECK,
            f"{path} cannot be written by this user",
            "The service, started so, does not start.",
            f"chown -R {os.geteuid()} {path}, or run as its owner",
        )
    else:
        yield ok(CHECK, f"{path} is its owner's alone")
    for name in (DATABASE, "records.db"):
        file = path / name
        if file.exists() and file.stat().st_uid != found.st_uid:
            yield problem(
                CHECK,
                f"{file} belongs to user {file.stat().st_uid}, the directory to {found.st_uid}",
                "One of the two cannot be written by the service.",
                f"chown {found.st_uid} {file}",
            )


def judge_room(path: Path, free_bytes: int) -> Iterator[Finding]:
    """There is room to write."""
    found = f"{free_bytes // MIB} MiB free at {path}"
    if free_bytes < FREE_PROBLEM:
        yield problem(
            CHECK,
            found,
            "Soon, or now, every change is refused as `unavailable`; nothing is lost by that.",
            "make room",
        )
    elif free_bytes < FREE_WARNING:
        yield warning(CHECK, found, "A busy day may fill it; then changes are refused as `unavailable`.", "make room")
    else:
        yield ok(CHECK, found)


def timed_syncs(path: Path, count: int = _SYNCS) -> list[float]:
    """How long each of a few small writes took to reach the disk, in ms; the file is removed."""
    file = path / f"doctor-{secrets.token_hex(6)}"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    taken = []
    try:
        for _ in range(count):
            begin = time.perf_counter()
            os.write(descriptor, b"\0" * 4096)
            os.fsync(descriptor)
            taken.append((time.perf_counter() - begin) * 1000)
    finally:
        os.close(descriptor)
        file.unlink(missing_ok=True)
    return taken


def judge_sync(taken_ms: list[float]) -> Finding:
    """The disk syncs soon enough: every acknowledgement waits for one sync."""
    middle = sorted(taken_ms)[len(taken_ms) // 2]
    found = f"a sync takes {middle:.1f} ms"
    meaning = "Each acknowledgement waits for one; devices see their changes confirmed that much later."
    if middle >= SYNC_PROBLEM_MS:
        return problem(CHECK, found, meaning, "put data_dir on a local SSD")
    if middle >= SYNC_WARNING_MS:
        return warning(CHECK, found, meaning, "put data_dir on a local SSD")
    return ok(CHECK, found)


def _journal(settings: Settings) -> Iterator[Finding]:
    path = settings.data_dir
    try:
        # The mark first: it is written after the journal, so while a service runs it may only lag behind.
        mark = read_mark(path)
    except ValueError:
        mark = None
        yield warning(
            CHECK,
            f"{path}/sessions.mark is damaged",
            "A lost end of the journal would not be noticed.",
            "restart the service: it is written anew",
        )
    if not (path / DATABASE).exists():
        if mark is not None and mark.counter:
            yield problem(
                CHECK,
                f"{path / DATABASE} is gone; its mark says that it held {mark.counter} transactions",
                "Every session is lost.",
                _BACKUP,
            )
        else:
            yield ok(CHECK, "no journal yet; the first start makes it")
        return
    try:
        with looking_at(path, settings.limits) as journal:
            counter, store_id = journal.counter(), journal.store_id()
            damaged, aside = journal.damaged_rows(), journal.set_aside()
    except (CannotOpen, NotThere) as refusal:
        yield problem(CHECK, str(refusal), "The service does not start, or serves no session.", _BACKUP)
        return
    if mark is not None and mark.store_id != store_id:
        yield problem(
            CHECK,
            f"{path / DATABASE} is not the file that its mark was written for",
            "The service does not start.",
            _BACKUP,
        )
    elif mark is not None and mark.counter > counter:
        yield problem(
            CHECK,
            f"the journal ends at transaction {counter}, its mark says {mark.counter}",
            "Acknowledged changes are missing; the service does not start.",
            _BACKUP,
        )
    for sentence in damaged[:3]:
        yield problem(CHECK, sentence, "That session is not served.", _BACKUP)
    for session, reason in list(aside.items())[:3]:
        yield problem(
            CHECK, f"session {session} is set aside: {reason}", "It is answered `state_damaged`; others go on.", _BACKUP
        )
    if not damaged and not aside:
        yield ok(CHECK, f"the journal's {counter} transactions: the newest have their checksums")


def _write_ahead_logs(path: Path) -> Iterator[Finding]:
    for name in (DATABASE, "records.db"):
        file = path / f"{name}-wal"
        size = file.stat().st_size if file.exists() else 0
        if size > WAL_WARNING:
            yield warning(
                CHECK,
                f"{file} has {size // MIB} MiB",
                "A reader that never ends (a backup, a shell) keeps it from being folded in.",
                f"fuser -v {file}",
            )


def _holder(path: Path) -> Finding:
    """Who serves the directory, as its lock says; for people, no fault either way."""
    try:
        text = (path / LOCK).read_text("ascii").strip()
        running = Path(f"/proc/{int(text)}").exists()
    except (OSError, ValueError):
        running, text = False, ""
    if not running:
        return ok(CHECK, "no service runs on it")
    return ok(CHECK, f"process {text} serves it, started {span(_age_ms(path / LOCK))} ago or before")


def _age_ms(file: Path) -> float:
    return max(0.0, time.time() - file.stat().st_mtime) * 1000
