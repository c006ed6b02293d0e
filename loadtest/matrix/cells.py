"""What is measured in a world: so many sessions of such a size, so many devices each, all of them pushing."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final, Literal

import msgspec

from bench.speaking import Group, Line, ServerProcess, all_joined, encode, joined, pushes_of, until
from bench.worlds import World, WorldName

IN_FLIGHT = 512
"""Pushes that wait for an answer, over all sessions: so many that nodes are never idle."""
WINDOW_MAX = 8
SESSIONS_A_LINE = 25
"""Of a device that follows many; the service allows 32."""
SETTLE_S = 0.4

Placement = Literal["together", "apart"]


class Cell(msgspec.Struct, frozen=True):
    """One point of the matrix. ``apart``: the devices of a session are at different nodes, where there are two."""

    world: WorldName
    sessions: int = 64
    devices: int = 2
    size_kib: int = 2
    placement: Placement = "together"


class Figures(msgspec.Struct, frozen=True):
    """What a round took. ``*_us``: microseconds of processor time a commit, of all processes of that kind."""

    commits_s: float
    deliveries_s: float
    node_us: float
    redis_us: float
    postgres_us: float
    devices_us: float
    node_share: float
    """Of the nodes' core, over the round; near 1, the nodes are what bounds the rate."""
    others_share: float
    """Of the other cores; near 1, those who push, or the servers, bound the rate."""
    redis_in_bytes: float
    redis_out_bytes: float
    device_bytes: float
    """What one delivery is on the wire, without the frame's own header."""


STAY_S: Final = 15.0
"""A heartbeat."""
STAYED_S: Final = 0.1
"""What nodes do about pings is over before anything is measured."""


class Stand:
    """The devices of one cell, connected."""

    def __init__(self, cell: Cell, world: World, cores_others: int) -> None:
        self.cell = cell
        self.rounds: list[Figures] = []
        self._world = world
        self._cores_others = cores_others
        self._groups: list[Group] = []
        self._lines: list[Line] = []
        self._sessions: list[list[str]] = []
        self._pushed: list[int] = []
        self._window = WINDOW_MAX
        self._rate = 0.0
        self._stayed_at_s = time.monotonic()

    async def connect(self) -> None:
        """Every device follows its sessions."""
        cell, nodes = self.cell, self._world.nodes
        many = SESSIONS_A_LINE if cell.devices == 1 and cell.sessions > IN_FLIGHT else 1
        accounts = await nodes[0].grow(-(-cell.sessions // many), many, cell.size_kib)
        self._window = max(1, min(WINDOW_MAX * many, IN_FLIGHT // len(accounts)))
        arriving = (
            self._arrive(nodes[(number + (place if cell.placement == "apart" else 0)) % len(nodes)], account, place)
            for number, account in enumerate(accounts)
            for place in range(cell.devices)
        )
        self._lines = await all_joined(arriving)
        for number, account in enumerate(accounts):
            lines = self._lines[number * cell.devices : (number + 1) * cell.devices]
            self._groups.append(Group(lines[0], lines[1:], self._window))
            self._sessions.append(account["sessions"])
            self._pushed.append(0)
        await asyncio.sleep(SETTLE_S)  # presence of those who came is told; nothing says when to all

    async def _arrive(self, node: ServerProcess, account: dict[str, Any], place: int) -> Line:
        first, *more = account["sessions"]
        line = await joined(node.port, account["token"], f"d{place}", first)
        for session in more:
            answer = await line.ask(encode({"type": "join", "session": session}))
            assert b'"type":"joined"' in answer, answer[:200]
        return line

    async def warm(self) -> None:
        """Caches are filled, and the rate is known."""
        figures = await self._round(max(20, 2_000 // len(self._groups)))
        self._rate = figures.commits_s

    async def round(self, seconds: float) -> None:
        """One round of about so long is on record."""
        self.rounds.append(await self._round(max(10, round(self._rate * seconds / len(self._groups)))))

    async def stay(self) -> None:
        """Its devices are there yet while others are measured: followers say nothing by themselves."""
        if time.monotonic() < self._stayed_at_s + STAY_S:
            return
        self._stayed_at_s = time.monotonic()
        for line in self._lines:
            line.ping()
        await asyncio.sleep(STAYED_S)

    def close(self) -> None:
        for line in self._lines:
            line.close()

    def _frames(self, place: int, count: int) -> list[bytes]:
        sessions, pushed = self._sessions[place], self._pushed[place]
        self._pushed[place] += count
        if len(sessions) == 1:
            return pushes_of(sessions[0], count, pushed + 1, self._window)
        # Round robin; a session's own window is its share, and one more for answers that overtake each other.
        lag = self._window // len(sessions) + 2
        turns = [0] * len(sessions)
        for number in range(pushed, pushed + count):
            turns[number % len(sessions)] += 1
        own = []
        for index, session in enumerate(sessions):
            before = (pushed + len(sessions) - 1 - index) // len(sessions)
            own.append(iter(pushes_of(session, turns[index], before + 1, lag)))
        return [next(own[number % len(sessions)]) for number in range(pushed, pushed + count)]

    async def _round(self, each: int) -> Figures:
        frames = [self._frames(place, each) for place in range(len(self._groups))]
        commits = each * len(self._groups)
        has_redis = bool(self._world.servers)
        net = self._world.redis_info("stats") if has_redis else {}
        before, own, begin = self._world.spent(), time.process_time(), time.perf_counter()
        for group, said in zip(self._groups, frames, strict=True):
            group.begin(said)
        waiting = list(self._groups)

        def is_over() -> bool:
            while waiting and waiting[-1].is_done:
                waiting.pop()
            return not waiting

        await until(is_over, "a push or an entry did not arrive")
        took_s, own_s = time.perf_counter() - begin, time.process_time() - own
        spent = self._world.spent() - before
        after = self._world.redis_info("stats") if has_redis else {}
        self._judge()
        deliveries = commits * (self.cell.devices - 1)
        heard = sum(line.heard_bytes for group in self._groups for line in group.followers)
        others_s = own_s + spent.redis + spent.postgres
        return Figures(
            commits_s=commits / took_s,
            deliveries_s=deliveries / took_s,
            node_us=spent.nodes / commits * 1e6,
            redis_us=spent.redis / commits * 1e6,
            postgres_us=spent.postgres / commits * 1e6,
            devices_us=own_s / commits * 1e6,
            node_share=spent.nodes / took_s,
            others_share=others_s / took_s / self._cores_others,
            redis_in_bytes=_grown(net, after, "total_net_input_bytes") / commits,
            redis_out_bytes=_grown(net, after, "total_net_output_bytes") / commits,
            device_bytes=heard / deliveries if deliveries else 0.0,
        )

    def _judge(self) -> None:
        """What came last is the acknowledgement of the last push: nobody was refused, and nothing is missing."""
        for group, sessions, pushed in zip(self._groups, self._sessions, self._pushed, strict=True):
            if len(sessions) == 1:
                for line in (group.pusher, *group.followers):
                    version = last_version(line.last)
                    assert version == pushed + 1, (version, pushed + 1, line.last[:200])


def last_version(text: bytes) -> int:
    """The newest version that an acknowledgement or a message of entries tells; 0 of anything else."""
    message = msgspec.json.decode(text)
    if message["type"] == "entries":
        return int(message["entries"][-1]["version"])
    return int(message.get("version", 0))


def _grown(before: dict[str, Any], after: dict[str, Any], name: str) -> float:
    return float(after.get(name, 0)) - float(before.get(name, 0))
