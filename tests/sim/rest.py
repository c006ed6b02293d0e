"""A caller over REST."""

from __future__ import annotations

from syncbridge.core.effects import Reply
from syncbridge.core.events import EditRequested, ReadRequested, StatusRequested, TakeRequested
from syncbridge.core.ids import DeviceId, RequestId, SessionId
from syncbridge.core.messages import DeviceInfo
from tests.sim.node import ACCOUNT, Node
from tests.sim.weather import Weather
from tests.sim.world import World


class RestCaller:
    """Asks over REST, at whichever node is up."""

    def __init__(
        self, world: World, weather: Weather, nodes: list[Node], session: str, roster: tuple[DeviceInfo, ...]
    ) -> None:
        self.world = world
        self.weather = weather
        self.nodes = nodes
        self.session = SessionId(session)
        self.roster = roster
        self.is_calm = False
        self._plan()

    def _plan(self) -> None:
        if self.weather.rest_mean_ms and not self.is_calm:
            self.world.after(1 + int(self.world.random.expovariate(1 / self.weather.rest_mean_ms)), self._ask)

    def _ask(self) -> None:
        random, engine = self.world.random, self.world.random.choice(self.nodes).engine
        if self.is_calm:
            return
        if engine is not None:
            request = RequestId(self.world.new_id())
            device = random.choice(self.roster).id
            heard_at = engine.active_heard_at(ACCOUNT, self.session)
            event = random.choice(
                (
                    ReadRequested(request),
                    EditRequested(request, device, "merge", {"rest": random.randint(0, 99)}, None),
                    EditRequested(request, "", "patch", [{"op": "add", "path": "/rest", "value": 1}], None),
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

    def _answered(self, reply: Reply) -> None:
        self.world.note(f"REST {reply.request} {'ok' if reply.result else reply.code}")
