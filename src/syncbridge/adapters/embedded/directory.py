"""The data directory: one process in it, and a mark that remembers how far the journal went.

The mark is a small file beside the database that is overwritten after every group, without a sync of its own. A torn
or lost write-ahead log is repaired by SQLite without a word, to the last group that is whole; that the mark is past
it is how a lost tail is noticed.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from pathlib import Path
from typing import NamedTuple

DATABASE = "sessions.db"
LOCK = "sessions.lock"
MARK = "sessions.mark"


class CannotOpen(RuntimeError):
    """The store must not be opened as it is; the sentence says why and what to do."""


class InUse(CannotOpen):
    """Another process holds the directory; ``holder`` is its id, None where it is not known."""

    def __init__(self, sentence: str, holder: int | None) -> None:
        super().__init__(sentence)
        self.holder = holder


class MarkRead(NamedTuple):
    """What the mark says: whose it is, and the last journal id that was committed."""

    store_id: str
    counter: int


def read_mark(path: Path) -> MarkRead | None:
    """The mark in the directory `path`; None where there is none. ValueError where it is damaged."""
    try:
        text = (path / MARK).read_bytes()
    except FileNotFoundError:
        return None
    fields = text.split()
    if len(fields) != 3 or int(fields[2], 16) != zlib.crc32(b" ".join(fields[:2])):
        raise ValueError("the mark fails its checksum")
    return MarkRead(fields[0].decode(), int(fields[1]))


class DataDirectory:
    """The directory `path`, made for this user alone (0700), held by this process until `close`."""

    def __init__(self, path: Path) -> None:
        """Raises CannotOpen where it cannot be written, and while another process, which is named, holds it."""
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.chmod(0o700)
            self._lock_fd = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            # Of a file in its place the system only says that it exists.
            reason = "it is no directory" if isinstance(error, FileExistsError) else error.strerror
            raise CannotOpen(f"the data directory {path} cannot be used: {reason}; set another data_dir") from error
        self.path = path
        self.database = path / DATABASE
        self._mark_path = path / MARK
        self._mark_fd = -1
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._lock_fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._lock_fd)
            raise InUse(
                f"the data directory {path} is in use by process {holder}; stop it, or choose another directory",
                int(holder) if holder.isdecimal() else None,
            ) from None
        os.ftruncate(self._lock_fd, 0)
        os.pwrite(self._lock_fd, f"{os.getpid()}\n".encode(), 0)

    def read_mark(self) -> MarkRead | None:
        """The mark; None where there is none. ValueError where it is damaged."""
        return read_mark(self.path)

    def write_mark(self, store_id: str, counter: int) -> None:
        """The mark says `counter`: in the page cache, so it survives the process but perhaps not the machine."""
        if self._mark_fd < 0:
            self._mark_fd = os.open(self._mark_path, os.O_RDWR | os.O_CREAT, 0o600)
        text = f"{store_id} {counter:020d}".encode()
        os.pwrite(self._mark_fd, b"%b %08x\n" % (text, zlib.crc32(text)), 0)

    def close(self) -> None:
        """Another process may have the directory."""
        for descriptor in (self._mark_fd, self._lock_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self._mark_fd = self._lock_fd = -1
