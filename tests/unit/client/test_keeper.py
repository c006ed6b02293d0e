"""What may go out while the disk is behind: never so much that the service forgets what a crash would send again."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from syncbridge.client.cache import Cache
from syncbridge.client.keeper import Keeper
from syncbridge.client.pending import Dump
from syncbridge.client.replica import Replica
from syncbridge.core.digest import state_hash
from syncbridge.core.entry import Position
from syncbridge.core.messages import Ack, ClientMessage, EntryMessage, Joined, Push

STATE: dict[str, Any] = {"breaths": 0, "title": ""}
FIRST = Joined(
    session="s",
    position=Position("e", 1),
    mode="snapshot",
    hash=state_hash(STATE),
    fence=1,
    active="phone",
    status="active",
    kind="custom",
    last_seq=0,
    devices=[],
    server_time=0,
    state=STATE,
    ref="j1",
)


class SlowDisk:
    """Saves when it is told to."""

    def __init__(self) -> None:
        self.dumps: list[Dump] = []
        self.may_go_on = asyncio.Event()

    async def save(self, dump: Dump) -> None:
        await self.may_go_on.wait()
        self.dumps.append(dump)


class Line:
    """A connection that keeps what is sent."""

    def __init__(self, disk: SlowDisk) -> None:
        self.cache: Cache | None = cast(Cache, disk)
        self.sent: list[Push] = []

    def send(self, message: ClientMessage) -> None:
        assert isinstance(message, Push)
        self.sent.append(message)

    def now_ms(self) -> int:
        return 0


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def answered_to(line: Line, replica: Replica, through: int) -> None:
    for push in line.sent[through:]:
        replica.receive(Ack("s", push.seq, push.seq + 2, 0), 0)


async def test_no_push_goes_out_that_is_a_window_past_what_a_crash_would_send_again() -> None:
    disk = SlowDisk()
    line = Line(disk)
    replica = Replica("s", "phone")
    replica.join()
    replica.receive(FIRST, 0)
    keeper = Keeper(line, replica)
    for value in range(1, 200):
        replica.edit([{"op": "replace", "path": "/breaths", "value": value}], "edit", 0)
    replica.edit([{"op": "replace", "path": "/title", "value": "ours"}], "edit", 0)
    # The last edit is contested, so no body is brought to a newer base, which would have to be saved first.
    replica.receive(EntryMessage("s", 2, "patch", 0, "tv", 1, [{"op": "replace", "path": "/title", "value": "t"}]), 0)
    disk.may_go_on.set()
    await keeper.flush()
    disk.may_go_on.clear()
    # All 200 are on the disk as waiting. From here on the disk is slow, and the service is quick.
    for _ in range(5):
        told = len(line.sent)
        keeper.send()
        answered_to(line, replica, told)
        keeper.changed()
        answered_to(line, replica, told)
        await turns()
    kept = disk.dumps[-1].pending[0].seq
    assert max(push.seq for push in line.sent) < kept + replica.inflight_max
    disk.may_go_on.set()
    for _ in range(50):
        told = len(line.sent)
        await turns()
        answered_to(line, replica, told)
        keeper.changed()
    assert len(replica.pending) == 0
    assert [push.seq for push in line.sent] == list(range(1, 201))
    await keeper.close()
