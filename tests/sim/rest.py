"""A caller over REST: reads, edits, pauses, takes; seeks, goes back to states of before, takes conflicts back.

The past is read first and acted on a while later, as the service does it, so that it may be old by then.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from syncbridge.core.conflicts import PastConflict, undoings_in
from syncbridge.core.effects import Reply
from syncbridge.core.entry import Side
from syncbridge.core.events import (
    AnyEvent,
    EditRequested,
    ReadRequested,
    RestoreRequested,
    StatusRequested,
    TakeRequested,
    UndoRequested,
)
from syncbridge.core.ids import DeviceId, JsonObject, RequestId, SessionId
from syncbridge.core.messages import DeviceInfo
from tests.sim.deeds import REST
from tests.sim.node import ACCOUNT, Node
from tests.sim.truth import TrueLog
from tests.sim.weather import Weather
from tests.sim.world import World

LATE_MS_MAX = 400


class RestCaller:
    """Asks over REST, at whichever node is up; ``past`` gives the log as the store has it."""

    def __init__(
        self,
        world: World,
        weather: Weather,
        nodes: list[Node],
        session: str,
        roster: tuple[DeviceInfo, ...],
        past: Callable[[], TrueLog],
    ) -> None:
        self.world = world
        self.weather = weather
        self.nodes = nodes
        self.session = SessionId(session)
        self.roster = roster
        self.past = past
        self.is_calm = False
        self._edits = 0
        self._plan()

    def _plan(self) -> None:
        if self.weather.rest_mean_ms and not self.is_calm:
            self.world.after(1 + int(self.world.random.expovariate(1 / self.weather.rest_mean_ms)), self._ask)

    def _ask(self) -> None:
        random, engine = self.world.random, self.world.random.choice(self.nodes).engine
        if self.is_calm:
            return
        if self.weather.looks_back and random.random() < 0.5:
            self._look_back()
        elif engine is not None:
            request = RequestId(self.world.new_id())
            device = random.choice(self.roster).id
            heard_at = engine.active_heard_at(ACCOUNT, self.session)
            event = random.choice(
                (
                    ReadRequested(request),
                    EditRequested(request, device, "merge", {"rest": self._new_value(random.randint(0, 99))}, None),
                    EditRequested(
                        request, "", "patch", [{"op": "add", "path": REST, "value": self._new_value()}], None
                    ),
                    StatusRequested(request, device, random.choice(("active", "paused"))),
                    TakeRequested(
                        request,
                        device,
                        DeviceId(device),
                        random.choice(("take", "offer")),
                        self.world.new_id(),
                        self.roster,
                        None,
                        heard_at,
                    ),
                )
            )
            engine.ask(self.session, event, request, self._answered)
        self._plan()

    def _new_value(self, chance: int = 0) -> int:
        """A value that no other edit carries, and so no two entries."""
        self._edits += 1
        return 100 * self._edits + chance

    def _say(self, event_of: Callable[[RequestId], AnyEvent]) -> None:
        engine = self.world.random.choice(self.nodes).engine
        if engine is not None and not self.is_calm:
            request = RequestId(self.world.new_id())
            engine.ask(self.session, event_of(request), request, self._answered)

    # -- the past -----------------------------------------------------------------------------------------------

    def _look_back(self) -> None:
        """A seek, a restore or an undo; the same one twice, often enough, as somebody does who got no answer."""
        random, log = self.world.random, self.past()
        device = random.choice(("", *(info.id for info in self.roster)))
        listed = [entry for entry in log.entries[log.floor :] if entry.conflicts]
        event_of: Callable[[RequestId], AnyEvent]
        if random.random() < 0.2:
            anchor = {"position": random.randint(0, 3_000), "rate": random.choice((0, 1)), "at": self.world.time_ms}
            event_of = partial(_seek, device, anchor)
        elif listed and random.random() < 0.8:
            entry = random.choice(listed[-8:])
            since = log.entries[entry.version :]
            past = PastConflict(
                log.epoch,
                random.randrange(len(entry.conflicts)),
                log.states[entry.version - 1],
                entry,
                log.version,
                None if random.random() < 0.2 else since,
                undoings_in(since),
            )
            chosen: Side | None = random.choice((None, None, "ours", "theirs"))
            event_of = partial(_undo, device, past, chosen, random.random() < 0.2)
        else:
            event_of = partial(_restore, device, log.states[random.randint(max(1, log.floor), log.version)])
        for _ in range(random.choice((1, 1, 2))):
            self.world.after(random.randint(0, LATE_MS_MAX), partial(self._say, event_of))

    def _answered(self, reply: Reply) -> None:
        self.world.note(f"REST {reply.request} {'ok' if reply.result else reply.code}")


def _seek(device: str, anchor: JsonObject, request: RequestId) -> AnyEvent:
    return EditRequested(request, device, "merge", {"playhead": anchor}, None, "seek")


def _undo(device: str, past: PastConflict, chosen: Side | None, is_forced: bool, request: RequestId) -> AnyEvent:
    return UndoRequested(request, device, past, chosen, is_forced)


def _restore(device: str, state: JsonObject, request: RequestId) -> AnyEvent:
    return RestoreRequested(request, device, state)
