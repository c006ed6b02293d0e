"""How nodes hear of each other over Redis: `ports.Mesh`."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from functools import partial
from typing import Any, Final

import structlog

from syncbridge.adapters.cluster import keys
from syncbridge.adapters.cluster.link import script
from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.replies import Answer
from syncbridge.adapters.cluster.mesh.account_news import AccountNews
from syncbridge.adapters.cluster.mesh.followed import Followed
from syncbridge.adapters.cluster.mesh.liveness import Liveness
from syncbridge.adapters.cluster.mesh.rhythm import Rhythm
from syncbridge.adapters.cluster.mesh.session_news import SessionNews
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId, SessionId
from syncbridge.ports import Neighbour, Telemetry

NODES_KEPT_MS: Final = 3_600_000
"""How long the counts of nodes are kept after the last beat of any."""

FAREWELL_S: Final = 1.0
"""How long a node that stops waits for its last words to be heard; unsaid, they are found out in `GONE_WITHIN_S`."""

_BEAT: Final = script.load("beat")
_log = structlog.get_logger(__name__)


class RedisMesh:
    """The `Mesh` of many nodes with one Redis, single or a cluster.

    Order     `start` comes first, in the loop's thread, and `close` last.
    Node      ``node`` is the name of this process, without two alike at one time. Other nodes know it by that and a
              random end, so that a process that is started again under its name is another one.
    Bounded   no task a session; calls under way and work a turn are bounded (`Rhythm`).
    Trust     whoever may publish at this Redis is believed: it is guarded as the log itself is.
    """

    def __init__(self, link: RedisLink, node: str, telemetry: Telemetry, *, rhythm: Rhythm | None = None) -> None:
        self._link = link
        self._node = f"{node}~{secrets.token_hex(4)}"
        self._telemetry = telemetry
        self._rhythm = rhythm or Rhythm()
        self._liveness = Liveness(self._node, beat_s=self._rhythm.beat_s, dead_after_s=self._rhythm.dead_after_s)
        self._dead: list[tuple[str, int]] = []
        self._is_beating = False
        self._beat_due_s = 0.0
        self._retry_due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self, neighbour: Neighbour) -> None:
        """The node counts as alive, and ``neighbour`` is told what happens at the others."""
        self._loop = asyncio.get_running_loop()
        self._accounts = AccountNews(
            self._node, self._link, neighbour, self._telemetry, self._rhythm.turn_max, self._loop.time
        )
        self._sessions = SessionNews(
            self._node,
            self._link,
            neighbour,
            self._telemetry,
            self._liveness,
            self._rhythm,
            self._loop.call_soon,
            self._loop.time,
        )
        self._link.on_primary_changed.append(self._sessions.look_at_all)
        self._tick()

    async def close(self) -> None:
        """What this node said is taken back and it is no node any more, as far as the store can be reached in time."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        self._link.on_primary_changed.remove(self._sessions.look_at_all)
        self._accounts.depart_all()
        settled, gone = asyncio.Event(), asyncio.Event()
        self._sessions.unfollow_all(settled.set)
        words = [b"HDEL", keys.NODES, self._node.encode()]
        self._link.command(keys.NODES, words, lambda _answer: gone.set())
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await settled.wait()
                await gone.wait()

    @property
    def node(self) -> str:
        """What the other nodes call this one."""
        return self._node

    @property
    def nodes(self) -> int:
        """How many nodes live, as this one sees it, itself included."""
        return self._liveness.alive

    # -- Mesh ---------------------------------------------------------------------------------------------------

    def follow(self, session: SessionId) -> None:
        self._sessions.follow(session)

    def unfollow(self, session: SessionId) -> None:
        self._sessions.unfollow(session)

    def present(self, session: SessionId, device: DeviceId, heard_at: int) -> None:
        self._sessions.present(session, device, heard_at)

    def absent(self, session: SessionId, device: DeviceId, heard_at: int) -> None:
        self._sessions.absent(session, device, heard_at)

    def signal(self, session: SessionId, device: DeviceId, frame: bytes) -> None:
        self._sessions.signal(session, device, frame)

    def arrive(self, account: AccountId, device: DeviceId, connection: ConnectionId) -> None:
        self._accounts.arrive(account, device, connection)

    def depart(self, account: AccountId, device: DeviceId, connection: ConnectionId) -> None:
        self._accounts.depart(account, device, connection)

    def tell(self, account: AccountId, device: DeviceId, session: SessionId, frame: bytes) -> None:
        self._accounts.tell(account, device, session, frame)

    def delete(self, session: SessionId, reason: str) -> None:
        self._sessions.delete(session, reason)

    # -- by the clock -------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._timer = self._loop.call_later(self._rhythm.tick_s, self._tick)
        now_s = self._loop.time()
        if now_s >= self._beat_due_s and not self._is_beating:
            self._beat_due_s = now_s + self._rhythm.beat_s
            self._beat()
        self._sessions.tick()
        if now_s >= self._retry_due_s:
            self._retry_due_s = now_s + self._rhythm.retry_s
            self._accounts.retry()

    def _beat(self) -> None:
        self._is_beating = True
        dead = [word for name, count in self._dead for word in (name.encode(), b"%d" % count)]
        args = [self._node.encode(), b"%d" % NODES_KEPT_MS, *dead]
        self._link.run(_BEAT, [keys.NODES], args, partial(self._counted, self._sessions.suspects()), is_write=False)

    def _counted(self, suspects: list[tuple[Followed, str]], answer: Answer) -> None:
        self._is_beating = False
        if self._timer is None or not isinstance(answer, list):
            return
        self._telemetry.measured("mesh_beat", 1)
        counts = _counts(answer)
        census = self._liveness.read(counts, self._loop.time())
        self._dead = self._liveness.to_remove(counts)
        self._telemetry.measured("mesh_nodes", self._liveness.alive)
        if census.is_forgotten:
            _log.warning("this node was presumed dead; it says again whom it has", node=self._node)
            self._sessions.state_all()
        for name in census.died:
            _log.warning("a node is presumed dead", node=name)
            self._telemetry.measured("mesh_node_died", 1)
        for name in (*census.died, *census.left):
            self._sessions.died(name)
        self._sessions.bury(suspects)
        if census.returned:
            _log.info("nodes are back that were presumed dead", nodes=len(census.returned))
            self._sessions.look_at_all()


def _counts(answer: list[Any]) -> dict[str, int]:
    """Node and count in turn; what is no count is of nobody."""
    pairs = zip(answer[::2], answer[1::2], strict=False)
    return {bytes(name).decode("utf-8", "replace"): int(count) for name, count in pairs if bytes(count).isdigit()}
