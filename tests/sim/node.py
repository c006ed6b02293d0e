"""A node: the real engine over a simulated store. A crash takes all its memory; only the truth survives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from syncbridge.core.effects import NoteKind
from syncbridge.core.entry import Entry
from syncbridge.core.ids import AccountId, DeviceId, SessionId, TxnId
from syncbridge.core.messages import DeviceInfo
from syncbridge.core.session_types import SESSION_TYPES
from syncbridge.limits import Plan
from syncbridge.ports import Admission, Identity, Incident, Refusal
from syncbridge.runtime.engine import Engine
from syncbridge.runtime.neighbour import EngineNeighbour
from tests.sim.mesh import Bus, SimMesh
from tests.sim.network import Network
from tests.sim.store import SimStore
from tests.sim.truth import Truth
from tests.sim.weather import Weather
from tests.sim.world import Call, Violation, World

ACCOUNT = AccountId("ann")
YEAR_MS = 365 * 86_400_000


class Gate:
    """Lets every device of the roster in."""

    def __init__(self, roster: tuple[DeviceInfo, ...], plan: Plan) -> None:
        self.roster = roster
        self.plan = plan

    def admit(self, token: str, device: DeviceInfo, done: Callable[[Admission | Refusal], None]) -> None:
        done(Admission(Identity(ACCOUNT, 0, "t"), device, self.roster, self.plan))

    def renew(
        self, token: str, account: AccountId, device: DeviceId, done: Callable[[Identity | Refusal], None]
    ) -> None:
        done(Identity(account, 0, "t"))

    def read_roster(self, account: AccountId) -> None:
        raise Violation("roster", "every device is in it from the first")

    def refused(self, identity: Identity) -> str:
        return ""


class Figures:
    """Telemetry and directory; a machine's failure is a broken promise."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def measured(self, name: str, value: float, label: str = "") -> None:
        if name == "machine_failures":
            raise Violation("no_exception", f"a session's machine raised on {label}")
        self.counts[name] = self.counts.get(name, 0) + 1

    def note(self, session: SessionId, *, status: str, version: int, updated_at: int, active: str | None) -> None:
        self.counts["note"] = self.counts.get("note", 0) + 1


class Recorder:
    """Counts incidents by kind; each must be of a kind that is told of, and hold nothing but numbers and words."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def note(self, incident: Incident) -> None:
        if incident.kind not in get_args(NoteKind) or any(
            type(value) not in (int, str) for value in incident.detail.values()
        ):
            raise Violation("P26", f"{incident.kind} with {sorted(incident.detail)}")
        self.counts[incident.kind] = self.counts.get(incident.kind, 0) + 1


class Node:
    """One process, dead or alive."""

    def __init__(
        self,
        world: World,
        weather: Weather,
        truth: Truth,
        network: Network,
        bus: Bus,
        number: int,
        roster: tuple[DeviceInfo, ...],
    ) -> None:
        self.world = world
        self.weather = weather
        self.number = number
        self.figures = Figures()
        self.recorder = Recorder()
        self.crashes = 0
        self.engine: Engine | None = None
        self.store: SimStore | None = None
        self._truth = truth
        self._network = network
        self._bus = bus
        self.mesh: SimMesh | None = None
        self._gate = Gate(roster, weather.plan)
        self._life = 0
        self.is_calm = False

    def start(self) -> None:
        """It serves, with an empty memory; nothing happens when it does already."""
        if self.engine is not None:
            return
        self._life += 1
        life = self._life
        world = self.world

        def guarded(run: Callable[[], None]) -> Callable[[], None]:
            return lambda: run() if self._life == life else None

        def call_soon(run: Callable[[], None]) -> None:
            world.call_soon(guarded(run))

        def call_at(at_ms: int, run: Callable[[], None]) -> Call:
            return world.call_at(at_ms, guarded(run))

        self.store = SimStore(world, self.weather, self._truth)
        self.store.is_calm = self.is_calm
        self.engine = Engine(
            limits=self.weather.limits,
            clock=world,
            call_soon=call_soon,
            call_at=call_at,
            store=self.store,
            gatekeeper=self._gate,
            directory=self.figures,
            telemetry=self.figures,
            recorder=self.recorder,
            new_id=world.new_id,
            types=SESSION_TYPES,
        )
        if self.weather.nodes > 1:
            self.mesh = self.engine.mesh = self._bus.open(EngineNeighbour(self.engine), lambda: self._life == life)
        self._network.serve(self.number, self.engine.connect)
        world.note(f"N{self.number} starts")

    def crash(self) -> None:
        """All its memory is gone."""
        if self.engine is None or self.store is None:
            return
        self.world.note(f"N{self.number} crashes")
        self._life += 1
        self.crashes += 1
        self.store.lose()
        if self.mesh is not None:
            self.mesh.lose()
        self.engine = self.store = self.mesh = None
        self._network.serve(self.number, None)

    def calm(self) -> None:
        """Its store answers soon and well from now on."""
        self.is_calm = True
        if self.store is not None:
            self.store.calm()

    def tell(self, session: SessionId, epoch: str, entries: list[Entry], digests: list[int], txn: TxnId) -> None:
        """A commit is heard of."""
        if self.engine is not None:
            EngineNeighbour(self.engine).entries_seen(session, epoch, entries, digests, txn)
