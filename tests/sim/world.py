"""One seeded world: virtual time, chance, and a trace of all that happened.

Everything that runs in a simulation is a call at a virtual millisecond, taken from one heap; calls of one
millisecond run in the order in which they were asked for. Chance comes from one generator. So a seed and the code
decide the run: the same seed gives the same trace, whatever the machine, the load or `PYTHONHASHSEED`.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from hashlib import blake2b

START_MS = 1_795_000_000_000
"""Where virtual server time begins."""


class Violation(BaseException):
    """A promise is broken: ``checker`` names it.

    No `Exception`: the runtime survives those of its machines, and a checker may raise in the midst of one's work.
    """

    def __init__(self, checker: str, text: str) -> None:
        super().__init__(f"{checker}: {text}")
        self.checker = checker
        self.text = text


class Call:
    """A call to come; see `runtime.timers.Cancellable`."""

    __slots__ = ("is_cancelled", "run")

    def __init__(self, run: Callable[[], None]) -> None:
        self.run = run
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class World:
    """Time, chance and trace. A `ports.Clock`."""

    def __init__(self, seed: int, *, is_telling: bool = False) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.time_ms = START_MS
        self.events = 0
        self.is_telling = is_telling
        self._trace = blake2b(digest_size=8)
        self._heap: list[tuple[int, int, Call]] = []
        self._soon: deque[Callable[[], None]] = deque()
        self._order = 0
        self._ids = 0

    # -- time ---------------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        return self.time_ms

    def call_at(self, at_ms: int, run: Callable[[], None]) -> Call:
        """``run`` is called at ``at_ms`` (now, when that is past) unless cancelled before."""
        call = Call(run)
        self._order += 1
        heapq.heappush(self._heap, (max(at_ms, self.time_ms), self._order, call))
        return call

    def after(self, delay_ms: int, run: Callable[[], None]) -> Call:
        return self.call_at(self.time_ms + delay_ms, run)

    def call_soon(self, run: Callable[[], None]) -> None:
        """``run`` is called when the present call is over, at the same millisecond."""
        self._soon.append(run)

    def run_until(self, end_ms: int) -> None:
        """Every call up to ``end_ms`` has run, and it is ``end_ms``."""
        heap, soon = self._heap, self._soon
        while heap and heap[0][0] <= end_ms:
            at_ms, _, call = heapq.heappop(heap)
            if call.is_cancelled:
                continue
            self.time_ms = at_ms
            self.events += 1
            call.run()
            while soon:
                soon.popleft()()
        self.time_ms = end_ms

    # -- chance -------------------------------------------------------------------------------------------------

    def is_chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def new_id(self) -> str:
        """An id that no other call gave."""
        self._ids += 1
        return f"id{self._ids}"

    # -- the trace ----------------------------------------------------------------------------------------------

    def note(self, text: str, body: bytes = b"") -> None:
        """This happened now; ``body`` counts too, and is told in full."""
        line = f"{self.time_ms - START_MS} {text} "
        self._trace.update(line.encode())
        if body:
            self._trace.update(body)
        if self.is_telling:
            print(f"{(self.time_ms - START_MS) / 1000:9.3f}  {text} {body.decode(errors='replace')}")

    @property
    def trace_hash(self) -> str:
        return self._trace.hexdigest()
