"""A `StateStore` whose answers come late, get lost, or never come, as a network and a busy disk make them.

What a node has under way when it dies may still take effect, at once or (a message still in some queue) long after
it started again. Two nodes over one truth give each other real conflicts.

What it has not of the store over Redis: a log's own entries are never trimmed nor damaged, sessions are neither created
nor deleted, and the index of waiting offers never names one too many. Where Redis gives an order, here is none: a
channel's messages overtake each other and the answers to commits, and what was given up may yet take effect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from syncbridge.adapters.embedded.sole import SoleWriter
from syncbridge.core.entry import Entry, Snapshot, Txn
from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.ports import (
    Forked,
    Held,
    Outcome,
    PutBack,
    StoredHead,
    StoredLog,
    StoreFault,
    Stretch,
    Submission,
    Swept,
    WasCommitted,
    WasRefused,
    WasUnknown,
)
from tests.sim.truth import Truth
from tests.sim.weather import Weather
from tests.sim.world import Call, Violation, World

HANG_MS = 4_000
"""Longer than `store_timeout_ms`."""
ASKED_MAX = 200
"""Beside commits, within one millisecond: whoever asks on and on gets nowhere."""


class SimStore(SoleWriter):
    """One node's line to the truth, for one life of that node."""

    def __init__(self, world: World, weather: Weather, truth: Truth) -> None:
        self._world = world
        self._weather = weather
        self._truth = truth
        self._last_applied_ms = 0
        self._to_apply: dict[Call, Callable[[], Outcome]] = {}
        self._to_answer: dict[Call, Callable[[], None]] = {}
        self._asked_at_ms = 0
        self._asked = 0
        self.is_lost = False
        self.is_calm = False
        self.is_away = False

    def calm(self) -> None:
        """What is under way takes effect and is answered now; what comes is answered soon and well."""
        self.is_calm = True
        self.is_away = False
        for calls in (self._to_apply, self._to_answer):
            for call in list(calls):
                call.cancel()
                self._world.call_soon(call.run)

    @property
    def is_shared(self) -> bool:
        """Where several nodes write the truth."""
        return self._weather.nodes > 1

    def create(self, snapshot: Snapshot, first: Entry, body: bytes, done: Callable[[Outcome], None]) -> None:
        raise AssertionError("the world creates its sessions itself")

    def submit(self, batch: Sequence[Submission], done: Callable[[Outcome], None]) -> None:
        for submission in batch:
            self._submit(submission, done)

    def _submit(self, submission: Submission, done: Callable[[Outcome], None]) -> None:
        world, weather, txn = self._world, self._weather, submission.txn
        chance = world.random.random()
        if self.is_calm:
            chance = 1.0
        elif self.is_away:
            self._answer(done, WasUnknown(txn.id))
            return
        if (chance := chance - weather.store_refuse_chance) < 0:
            self._answer(done, WasRefused(txn.id, "unavailable"))
            return
        apply, term = partial(self._truth.commit, txn), self._truth.terms
        done = partial(self._tell, done, txn, term)
        if (chance := chance - weather.store_unknown_chance) < 0:
            if world.is_chance(weather.store_zombie_chance):
                self._apply_later(apply, world.random.randint(0, 1_500), None)
            elif world.is_chance(0.5):
                apply()
            self._answer(done, WasUnknown(txn.id))
            return
        if (chance := chance - weather.store_hang_chance) < 0:
            self._apply_later(apply, world.random.randint(0, HANG_MS), partial(self._answer, done, wait_ms=HANG_MS))
            return
        delay_ms = 1 if self.is_calm else weather.store_delay_ms_max
        if delay_ms == 0:
            done(apply())
        else:
            self._apply_later(apply, world.random.randint(0, delay_ms), partial(self._answer, done))

    def _tell(self, done: Callable[[Outcome], None], txn: Txn, term: int, outcome: Outcome) -> None:
        """Committed is said when the replicas have it: an answer that a failover overtook is none.

        Who only compares writes nothing and waits for no replica: what that tells of may be lost yet.
        """
        is_write = bool(txn.entries or txn.claims or txn.held)
        is_overtaken = isinstance(outcome, WasCommitted) and term != self._truth.terms
        if is_write and (is_overtaken or self._truth.is_parted):
            outcome = WasUnknown(txn.id)
        elif is_write and isinstance(outcome, WasCommitted):
            self._truth.acked(txn)
        done(outcome)

    def _apply_later(
        self, apply: Callable[[], Outcome], delay_ms: int, answer: Callable[[Outcome], None] | None
    ) -> None:
        at_ms = self._world.time_ms + delay_ms
        if answer is not None:
            # What one line carries takes effect in the order in which it was sent.
            at_ms = self._last_applied_ms = max(self._last_applied_ms, at_ms)

        def run() -> None:
            del self._to_apply[call]
            outcome = apply()
            if answer is not None:
                answer(outcome)

        call = self._world.call_at(at_ms, run)
        self._to_apply[call] = apply

    def _answer(self, done: Callable[[Outcome], None], outcome: Outcome, *, wait_ms: int = -1) -> None:
        if wait_ms < 0:
            wait_ms = self._world.random.randint(0, max(1, self._weather.store_delay_ms_max))
        if self.is_calm:
            wait_ms = 0

        def run() -> None:
            del self._to_answer[call]
            if not self.is_lost:
                done(outcome)

        call = self._world.after(wait_ms, run)
        self._to_answer[call] = run

    def lose(self) -> None:
        """The node died: nobody hears answers any more; what was under way takes effect now, later or never."""
        self.is_lost = True
        under_way, self._to_apply = self._to_apply, {}
        for call, apply in under_way.items():
            call.cancel()
            if self._world.is_chance(0.5):
                apply()
            elif self._world.is_chance(self._weather.store_zombie_chance):
                self._world.after(self._world.random.randint(0, 2_000), partial(_unheard, apply))

    def load(self, session: SessionId, reach: int, done: Callable[[StoredLog | StoreFault], None]) -> None:
        is_failing = not self.is_calm and (self._world.is_chance(self._weather.load_fail_chance) or self.is_away)

        def answer() -> None:
            if not self.is_lost:
                done(StoreFault("unavailable") if is_failing else self._truth.load(session, reach))

        self._later(answer)

    def state_at(self, session: SessionId, version: int, done: Callable[[StoredLog | StoreFault], None]) -> None:
        raise AssertionError("nobody asks for history here")

    def entries(
        self, session: SessionId, after: int, count_max: int, done: Callable[[Stretch | StoreFault], None]
    ) -> None:
        def answer() -> None:
            if not self.is_lost:
                done(self._truth.entries(session, after, count_max))

        self._later(answer)

    def version_at(self, session: SessionId, at_ms: int, done: Callable[[int | StoreFault], None]) -> None:
        def answer() -> None:
            if not self.is_lost:
                done(self._truth.version_at(session, at_ms))

        self._later(answer)

    def write_snapshot(self, snapshot: Snapshot) -> None:
        self._truth.keep(snapshot)

    def put_back(self, held: Held, done: Callable[[PutBack | Forked | StoreFault], None]) -> None:
        def answer() -> None:
            if not self.is_lost:
                done(StoreFault("unavailable") if self.is_away else self._truth.put_back(held))

        self._later(answer)

    def delete(self, session: SessionId, done: Callable[[StoreFault | None], None]) -> None:
        raise AssertionError("nobody deletes here")

    def waiting_offers(self, account: AccountId, device: DeviceId, done: Callable[[list[SessionId]], None]) -> None:
        def answer() -> None:
            if not self.is_lost:
                done(self._truth.waiting_offers(account, device))

        self._later(answer)

    def sweep(self, now_ms: int, count_max: int, done: Callable[[Swept], None]) -> None:
        done(Swept())

    def walk(
        self,
        after: str,
        count_max: int,
        done: Callable[[list[StoredHead] | StoreFault], None],
        account: AccountId | None = None,
    ) -> None:
        raise AssertionError("nobody looks for what is lost here")

    def is_healthy(self) -> bool:
        return True

    def _later(self, answer: Callable[[], None]) -> None:
        if self._asked_at_ms != self._world.time_ms:
            self._asked_at_ms, self._asked = self._world.time_ms, 0
        self._asked += 1
        if self._asked > ASKED_MAX:
            raise Violation("liveness", f"the store was asked {self._asked} times within a millisecond")
        delay_ms = 0 if self.is_calm else self._world.random.randint(0, self._weather.store_delay_ms_max)
        if delay_ms:
            self._world.after(delay_ms, answer)
        else:
            answer()


def _unheard(apply: Callable[[], Outcome]) -> None:
    """It takes effect, and nobody is there to hear of it."""
    apply()
