"""How fast one connection speaks: its device's pushes by the account's plan, everything else by one bound for all.

A push past the device's rate is refused, not settled: the device sends the very same one again. Its bucket is the
device's, not the connection's, so connecting anew gives no new one. What is no push, and what is refused, is counted
by the connection: first it is answered `rate_limited`, unheard, and when that goes on the connection is closed.
"""

from __future__ import annotations

from syncbridge.limits import Limits, Plan
from syncbridge.rates import Bucket, Rate


class Pace:
    """The two buckets of a connection. Cost: taking a push is two comparisons, and keeps nothing."""

    __slots__ = ("_messages", "_pushes", "_rate_of_messages", "_rate_of_pushes", "_refused", "_refused_max")

    def __init__(self, limits: Limits) -> None:
        self._messages = Bucket()
        self._pushes = Bucket()
        self._rate_of_messages = Rate(limits.message_burst, limits.message_refill_ms)
        self._rate_of_pushes = Rate(1, 1)
        self._refused = 0
        self._refused_max = limits.message_refusals_max

    def admitted(self, pushes: Bucket, plan: Plan) -> None:
        """The device is known: its pushes are counted in this bucket, by this plan."""
        self._pushes = pushes
        self._rate_of_pushes = Rate(plan.push_burst, plan.push_refill_ms)

    def takes_push(self, now_ms: int) -> bool:
        """One more push may be judged."""
        return self._pushes.take(self._rate_of_pushes, now_ms)

    def takes_message(self, now_ms: int) -> bool:
        """One more message may be acted on."""
        if self._messages.take(self._rate_of_messages, now_ms):
            self._refused = 0
            return True
        self._refused += 1
        return False

    @property
    def is_overrun(self) -> bool:
        """So many messages in a row were refused that whoever sends them does not listen."""
        return self._refused > self._refused_max

    def push_wait_ms(self, now_ms: int) -> int:
        """How long until a push may be judged again."""
        return self._pushes.wait_ms(self._rate_of_pushes, now_ms)

    def message_wait_ms(self, now_ms: int) -> int:
        """How long until a message may be acted on again."""
        return self._messages.wait_ms(self._rate_of_messages, now_ms)
