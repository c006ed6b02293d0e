"""How long a lost log waits for whoever holds more of it than the archive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.script import Script
from syncbridge.adapters.cluster.log.index import Indexes
from syncbridge.adapters.cluster.log.recovery import GRACE_MS, Recovery
from syncbridge.adapters.cluster.log.steps import Steps, drive, or_fault
from syncbridge.core.entry import Snapshot
from syncbridge.core.ids import AccountId, SessionId
from syncbridge.limits import Retention
from syncbridge.ports import Archive, StoreFault

SESSION, AT = SessionId("s1"), 1_790_000_000_000
KEPT = Snapshot(SESSION, AccountId("ann"), "custom", "e1", 5, AT, AT, {}, 2)
HOUR_MS = 3_600_000


class World:
    """A Redis that lost the log, an archive that has it, indexes that nobody reads, and two clocks."""

    def __init__(self) -> None:
        self.on_primary_changed: list[Callable[[], None]] = []
        self.wall_ms = AT
        self.monotonic_s = 50.0
        world: Any = self
        self.recovery = Recovery(
            cast(RedisLink, world),
            cast(Indexes, world),
            cast(Archive, world),
            world,
            Retention(),
            now_s=lambda: self.monotonic_s,
        )

    def now_ms(self) -> int:
        return self.wall_ms

    def run(
        self, script: Script, _keys: Sequence[bytes], _args: Sequence[bytes], done: Callable[[Any], None], **_how: bool
    ) -> None:
        answers: dict[str, Any] = {"missing": [0, 0, 10 * HOUR_MS], "outline": None, "put_back": [1, KEPT.version]}
        done(answers[script.name])

    def newest(self, _session: SessionId, done: Callable[[Snapshot], None]) -> None:
        done(KEPT)

    def keep(self, snapshot: Snapshot) -> None:
        assert snapshot.version == KEPT.version

    def list_session(self, _session: SessionId, _account: AccountId, _due_ms: int) -> Steps[None]:
        yield lambda done: done(None)

    def rebuilt(self) -> bool:
        answers: list[StoreFault | None] = []
        drive(or_fault(self.recovery.rebuild(SESSION)), answers.append)
        (fault,) = answers
        assert fault is None or fault.code == "unavailable"
        return fault is None


def test_where_no_primary_changed_nothing_is_waited_for_here() -> None:
    assert World().rebuilt()


@pytest.mark.parametrize("set_by_ms", [-HOUR_MS, 0, HOUR_MS], ids=["back", "not", "forward"])
def test_after_a_failover_the_grace_lasts_as_long_however_the_clock_is_set(set_by_ms: int) -> None:
    world = World()
    for tell in world.on_primary_changed:
        tell()
    world.wall_ms += set_by_ms
    assert not world.rebuilt()
    world.monotonic_s += GRACE_MS / 1_000 - 0.001
    assert not world.rebuilt()
    world.monotonic_s += 0.002
    assert world.rebuilt()
