"""The gate before the gatekeeper: a storm of devices comes in at a pace at which nobody inside notices.

When a node is gone, all of its devices say hello to another within a second. Each hello may ask the database, and is
followed by joins that read logs; done all at once they would keep everybody else waiting, and each other. So few are
looked at at a time, fewer begin in one turn of the loop, a bounded number waits in order, and whoever comes on top of
that is told when to come back: each at another time, so that the second storm is none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from syncbridge.core.ids import AccountId, DeviceId
from syncbridge.core.messages import DeviceInfo
from syncbridge.errors import Busy
from syncbridge.limits import Limits
from syncbridge.ports import Admission, Clock, Gatekeeper, Identity, Refusal
from syncbridge.runtime.timers import CallSoon

HELLOS_A_TURN: Final = 8
"""Begun in one turn of the loop: those known already are answered within it, at about 0.1 ms each."""
WAIT_MS_MAX: Final = 3_000
"""Who waited longer is told to come back instead: a device takes a silence of some seconds for a dead connection."""
RETURN_MS_EACH: Final = 10
"""Who is told to come back later comes back at 100 a second."""
RETURN_MS_MAX: Final = 20_000

_Done = Callable[[Admission | Refusal], None]


class HelloGate:
    """A `Gatekeeper` that lets hellos through to the true one in the order in which they came, and few at a time.

    Answers   exactly once a call: the true one's answer, or `busy` with a ``retry_after_ms`` of its own.
    Bounded   `limits.hellos_at_once_max` are looked at, `limits.hellos_waiting_max` wait, at most `WAIT_MS_MAX`.
    """

    def __init__(self, gatekeeper: Gatekeeper, limits: Limits, clock: Clock, call_soon: CallSoon) -> None:
        self._gatekeeper = gatekeeper
        self._limits = limits
        self._clock = clock
        self._call_soon = call_soon
        self._waiting: deque[tuple[int, str, DeviceInfo, _Done]] = deque()  # since when, and who
        self._at_once = 0
        self._this_turn = 0
        self._is_turn_awaited = False
        self._last_return_ms = 0

    @property
    def waiting(self) -> int:
        """Hellos that were not looked at yet."""
        return len(self._waiting)

    def admit(self, token: str, device: DeviceInfo, done: _Done) -> None:
        """See `ports.Gatekeeper.admit`."""
        if len(self._waiting) >= self._limits.hellos_waiting_max:
            self._send_away(done)
            return
        self._waiting.append((self._clock.now_ms(), token, device, done))
        self._let_in()

    def renew(
        self, token: str, account: AccountId, device: DeviceId, done: Callable[[Identity | Refusal], None]
    ) -> None:
        """See `ports.Gatekeeper.renew`; those who are in need not wait."""
        self._gatekeeper.renew(token, account, device, done)

    def read_roster(self, account: AccountId) -> None:
        """See `ports.Gatekeeper.read_roster`."""
        self._gatekeeper.read_roster(account)

    def refused(self, identity: Identity) -> str:
        """See `ports.Gatekeeper.refused`."""
        return self._gatekeeper.refused(identity)

    # -- inside -------------------------------------------------------------------------------------------------

    def _let_in(self) -> None:
        while self._waiting and self._at_once < self._limits.hellos_at_once_max:
            if self._this_turn >= HELLOS_A_TURN:
                return  # `_next_turn` is asked for, and goes on
            since_ms, token, device, done = self._waiting.popleft()
            if self._clock.now_ms() - since_ms > WAIT_MS_MAX:
                self._send_away(done)
                continue
            self._this_turn += 1
            if not self._is_turn_awaited:
                self._is_turn_awaited = True
                self._call_soon(self._next_turn)
            self._at_once += 1
            self._gatekeeper.admit(token, device, partial(self._answered, done))

    def _answered(self, done: _Done, answer: Admission | Refusal) -> None:
        self._at_once -= 1
        done(answer)
        self._let_in()

    def _next_turn(self) -> None:
        self._this_turn = 0
        self._is_turn_awaited = False
        self._let_in()

    def _send_away(self, done: _Done) -> None:
        done(Refusal(Busy.code, Busy.meaning, retry_after_ms=self._return_ms()))

    def _return_ms(self) -> int:
        """How long this device is to stay away: a step longer than the one before it, and than those who wait here."""
        now_ms = self._clock.now_ms()
        earliest_ms = now_ms + RETURN_MS_EACH * len(self._waiting)
        self._last_return_ms = max(self._last_return_ms, earliest_ms) + RETURN_MS_EACH
        if self._last_return_ms - now_ms > RETURN_MS_MAX:
            self._last_return_ms = earliest_ms + RETURN_MS_EACH  # round again: more would be away longer than they bear
        return self._last_return_ms - now_ms
