"""Passwords: argon2id off the event loop, at most two at a time."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from syncbridge.errors import RateLimited

NICENESS = 10
AT_ONCE_MAX = 2
"""Each takes tens of milliseconds of a core and its whole memory cost: more at once starves the live sessions."""


class Passwords:
    """Hashes and checks passwords in its own two threads.

    Blocking   nothing blocks the loop.
    Bounded    at most ``waiting_max`` requests wait; the next raises RateLimited.
    Timing     `verify` without a stored hash works as long as with one, so a log-in does not tell who exists.
    """

    def __init__(
        self, *, time_cost: int = 2, memory_kib: int = 19_456, parallelism: int = 1, waiting_max: int = 64
    ) -> None:
        self._hasher = PasswordHasher(time_cost, memory_kib, parallelism, type=Type.ID)
        self._decoy = self._hasher.hash("no account has this password")
        self._threads = ThreadPoolExecutor(AT_ONCE_MAX, thread_name_prefix="argon2", initializer=_yield_to_the_loop)
        self._pending = 0
        self._pending_max = AT_ONCE_MAX + waiting_max

    async def hash(self, password: str) -> str:
        """The argon2id hash in PHC form. Raises RateLimited when too many wait."""
        self._enter()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._hasher.hash, password)
        finally:
            self._pending -= 1

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether this is the password; False, after the same work, where nothing is stored (None or "")."""
        self._enter()
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._verify, stored, password)
        finally:
            self._pending -= 1

    @property
    def pending(self) -> int:
        """Requests that are worked on or wait."""
        return self._pending

    def is_outdated(self, stored: str) -> bool:
        """Whether the hash was made with other parameters than those in force."""
        return self._hasher.check_needs_rehash(stored)

    def close(self) -> None:
        """The threads end; what waits is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _enter(self) -> None:
        if self._pending >= self._pending_max:
            raise RateLimited("Too many log-ins at once; try again in a moment.")
        self._pending += 1

    def _verify(self, stored: str | None, password: str) -> bool:
        try:
            self._hasher.verify(stored or self._decoy, password)
        except (VerificationError, InvalidHashError):
            return False
        return bool(stored)


def _yield_to_the_loop() -> None:
    """This thread runs where the loop leaves time: a crowd at the log-in delays the crowd, not the live sessions.

    On Linux a priority is a thread's own (setpriority(2), "C library/kernel differences"); elsewhere it would be the
    whole process's, so it stays as it is.
    """
    if sys.platform == "linux":
        me = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, me, max(NICENESS, os.getpriority(os.PRIO_PROCESS, me)))
