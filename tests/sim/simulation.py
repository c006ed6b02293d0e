"""One seed from beginning to end: bad weather, then calm, then the last judgement."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from syncbridge.client.pending import Row
from syncbridge.core.digest import state_hash
from syncbridge.core.entry import Entry, Snapshot
from syncbridge.core.ids import SessionId, TxnId
from syncbridge.core.log import SessionLog, founding
from syncbridge.core.messages import DeviceInfo, Join, Push, ServerMessage
from syncbridge.core.playhead import of_state
from syncbridge.core.session_types import SESSION_TYPES
from syncbridge.errors import SyncBridgeError
from syncbridge.wire.codec import MessageDecoder
from tests.sim import check_deeds
from tests.sim.app import COUNTERS, FOUNDING, App
from tests.sim.check_log import CONTINUITY_S, LogChecker
from tests.sim.check_memory import check_engine
from tests.sim.check_wire import WireChecker
from tests.sim.deeds import Deed
from tests.sim.device import SimDevice
from tests.sim.mesh import Bus
from tests.sim.network import Link, Network
from tests.sim.node import ACCOUNT, Node
from tests.sim.rest import RestCaller
from tests.sim.sloppy import Sloppy
from tests.sim.store import HANG_MS
from tests.sim.truth import TrueLog, Truth
from tests.sim.weather import draw
from tests.sim.world import Violation, World

SESSION = SessionId("s1")
CALM_MS = 5_000
"""P3: so long after the last fault everybody agrees."""
LOOK_MS = 250
FORGOTTEN_MAX = 30
"""Entries that a rebuilt log may lack: fewer than a device keeps of its own."""
STALL_MS_MAX = 4_000
PARTED_MS_MAX = 1_500
"""How long a primary goes on without its replicas before it dies."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one seed came to."""

    seed: int
    trace_hash: str
    events: int
    entries: int
    deeds: int
    handoffs: int
    conflicts: int
    crashes: int
    kills: int
    snapshots: int
    resumes: int
    losses: int
    wipes: int
    returns: int
    rebuilds: int
    checker: str = ""
    text: str = ""


class _Loud(logging.Handler):
    """The runtime logs an exception of a machine and goes on; here it ends the run."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR and "cannot be loaded" not in record.msg:
            raise Violation("no_exception", record.getMessage()) from sys.exc_info()[1]


class Simulation:
    """The world, everybody in it, and the checkers that watch."""

    def __init__(self, seed: int, *, is_telling: bool = False, is_careless: bool = False) -> None:
        self.world = World(seed, is_telling=is_telling)
        self.weather = draw(self.world.random, is_careless=is_careless)
        if is_telling:
            print(self.weather)
        self.log_checker = LogChecker(self)
        self.wire_checker = WireChecker(self.log_checker)
        self.truth = Truth(self.world, self, is_shared=self.weather.nodes > 1)
        self.bus = Bus(self.world, self.weather, self.truth)
        self.network = Network(self.world, self.weather, self)
        names = [f"d{number}" for number in range(self.weather.devices)]
        sloppy = ["x0"] if self.weather.has_sloppy else []
        self.roster = tuple(DeviceInfo(name) for name in [*names, *sloppy])
        self.nodes = [
            Node(self.world, self.weather, self.truth, self.network, self.bus, number, self.roster)
            for number in range(self.weather.nodes)
        ]
        self.devices = {name: SimDevice(self.world, self.weather, self.network, self, name, SESSION) for name in names}
        self.apps = [
            App(
                device,
                [*(n for n in names if n != name), *sloppy],
                is_stale=self.weather.has_stale_app and name == "d1",
            )
            for name, device in self.devices.items()
        ]
        self.sloppy = [Sloppy(self.world, self.weather, self.network, name, SESSION) for name in sloppy]
        self.rest = RestCaller(
            self.world, self.weather, self.nodes, SESSION, self.roster, lambda: self.truth.logs[SESSION]
        )
        self._decoder = MessageDecoder(self.weather.limits)
        self._is_calm = False

    # -- watching -----------------------------------------------------------------------------------------------

    def on_commit(self, log: TrueLog, entries: list[Entry], txn: TxnId) -> None:
        for entry in entries:
            self.log_checker.on_entry(log, entry)
        if self.weather.nodes == 1:
            self._tell_late(log, entries, txn)
            return
        before = entries[0].version - 1
        self.bus.committed(log, entries, txn, log.entry(before).at if before else 0)

    def _tell_late(self, log: TrueLog, entries: list[Entry], txn: TxnId) -> None:
        """One node, too, may hear of a commit of its own that it had given up."""
        if self.weather.store_zombie_chance:
            digests = log.digests[-len(entries) :]
            delay_ms = self.world.random.randint(0, 1 + self.weather.store_delay_ms_max)
            if self._is_calm or not self.world.is_chance(0.1):
                self.world.after(delay_ms, partial(self.nodes[0].tell, log.session, log.epoch, entries, digests, txn))

    def on_moved(self, log: TrueLog) -> None:
        self.log_checker.follow_again(log)

    def on_rebuilt(self, log: TrueLog) -> None:
        """The log goes on under another name, perhaps from a while ago; what is known of it stays true."""
        self.log_checker.follow_again(log)

    def on_sent(self, link: Link, message: ServerMessage) -> None:
        self.wire_checker.on_sent(link.number, message)

    def on_arrived(self, link: Link, message: ServerMessage) -> None:
        """Judged when it was sent."""

    def on_said(self, link: Link, frame: bytes) -> None:
        try:
            message = self._decoder.decode(frame)
        except SyncBridgeError:
            return
        if isinstance(message, Join):
            self.wire_checker.on_join(link.number, message)
        elif isinstance(message, Push):
            said = self.log_checker.said.setdefault((link.peer.name, message.seq), [])
            said.append((message.base, message.fence))

    def on_outcome(self, deed: Deed) -> None:
        self.world.note(f"{deed.device} key {deed.key} -> {deed.version or deed.code}")

    def on_confirmed(self, device: SimDevice) -> None:
        """P9: what this device shows now is the log's playhead at true server time, as exactly as it knows the time."""
        log, position = self.truth.logs[SESSION], device.replica.position
        if log.lost:
            return  # what it holds may be what was lost; whether it comes to the log again is judged in the end
        if position is None or position.epoch != log.epoch or device.offset_error_ms is None:
            return
        if position.version > log.version:
            raise Violation("P4", f"{device.name} holds version {position.version}; the log ends at {log.version}")
        true, shown = of_state(log.states[position.version]), of_state(device.replica.confirmed)
        if true is None or shown is None:
            raise Violation("P9", f"{device.name} shows {shown}, the log says {true}")
        error_s = abs(true.position_at(self.world.time_ms) - shown.position_at(device.server_ms()))
        bound_s = CONTINUITY_S + true.rate * (device.offset_error_ms + 5) / 1000
        if error_s > bound_s:
            raise Violation("P9", f"the playhead of {device.name} is {error_s:.3f} s off; bound {bound_s:.3f} s")

    def is_heard(self, device: str) -> bool:
        one = self.devices.get(device)
        if one is None or not one.is_running or one.link is None or len(self.nodes) > 1:
            return False
        link = one.link
        return one.replica.is_joined and link.has_node_end and link.has_device_end and not link.is_cut

    def transit_ms(self) -> int:
        # What it said last may have waited for the answer to a commit before it.
        weather = self.weather
        wait_ms = HANG_MS if weather.store_hang_chance else weather.store_delay_ms_max
        return weather.delay_ms_max + wait_ms + (STALL_MS_MAX if weather.stall_mean_ms else 0)

    def died_ms(self, device: str) -> int | None:
        one = self.devices.get(device)
        return None if one is None or one.is_running else one.died_ms

    # -- running ------------------------------------------------------------------------------------------------

    def run(self) -> Result:
        """Judged; raises nothing: a broken promise is in the result."""
        checker = text = ""
        logger = logging.getLogger("syncbridge.runtime")
        loud, was_propagating = _Loud(), logger.propagate
        logger.addHandler(loud)
        logger.propagate = False
        try:
            self._live()
            self._calm()
            self._judge()
            self._judge_presence(self.devices.values())
            self._part()
        except Violation as violation:
            checker, text = violation.checker, violation.text
            self.world.note(f"BROKEN {checker} {text}")
        finally:
            logger.removeHandler(loud)
            logger.propagate = was_propagating
        log = self.truth.logs.get(SESSION)
        return Result(
            seed=self.world.seed,
            trace_hash=self.world.trace_hash,
            events=self.world.events,
            entries=0 if log is None else log.version,
            deeds=sum(len(device.deeds) for device in self.devices.values()),
            handoffs=self.log_checker.handoffs,
            conflicts=self.log_checker.conflicts,
            crashes=sum(node.crashes for node in self.nodes),
            kills=sum(device.kills for device in self.devices.values()),
            snapshots=self.wire_checker.snapshots,
            resumes=self.wire_checker.resumes,
            losses=self.truth.losses,
            wipes=self.truth.wipes,
            returns=self.truth.returns,
            rebuilds=self.truth.rebuilds,
            checker=checker,
            text=text,
        )

    def _live(self) -> None:
        world, weather = self.world, self.weather
        state = {**SESSION_TYPES[weather.kind].initial_state(), **FOUNDING}
        snapshot, first = founding(
            state,
            session=SESSION,
            account=ACCOUNT,
            kind=weather.kind,
            title="",
            epoch="e1",
            device=world.random.choice(("", "d0")),
            now_ms=world.time_ms,
        )
        self.wire_checker.log = self.truth.create(snapshot, first)
        for node in self.nodes:
            node.start()
        for device in self.devices.values():
            device.start()
        self._repeat(weather.cut_mean_ms, self._cut)
        self._repeat(weather.stall_mean_ms, self._stall)
        self._repeat(weather.crash_mean_ms, self._crash)
        if weather.nodes > 1:
            self._repeat(weather.failover_mean_ms, self._fail_over)
            self._repeat(weather.wipe_mean_ms, self._wipe)
            self._repeat(weather.partition_mean_ms, self._partition)
        self._repeat(weather.kill_mean_ms, self._kill)
        self._repeat(weather.offline_mean_ms, self._wander)
        end_ms = world.time_ms + weather.length_ms
        while world.time_ms < end_ms:
            world.run_until(min(end_ms, world.time_ms + LOOK_MS))
            self._look()

    def _repeat(self, mean_ms: int, fault: Callable[[], None]) -> None:
        if mean_ms:

            def run() -> None:
                if not self._is_calm:
                    fault()
                    self._repeat(mean_ms, fault)

            self.world.after(1 + int(self.world.random.expovariate(1 / mean_ms)), run)

    def _look(self) -> None:
        for node in self.nodes:
            if node.engine is not None:
                check_engine(node.engine, self.weather.limits, SESSION, len(self.network.links))

    # -- faults -------------------------------------------------------------------------------------------------

    def _cut(self) -> None:
        whole = [link for link in self.network.links if not link.is_cut and link.driver is not None]
        if whole:
            random = self.world.random
            is_half = random.random() < self.weather.half_open_chance
            random.choice(whole).cut(
                device_after_ms=random.randint(0, 100) if not is_half or random.random() < 0.7 else 3_000,
                node_after_ms=random.randint(0, 100) if not is_half else None,
            )

    def _stall(self) -> None:
        if self.network.links:
            random = self.world.random
            link = random.choice(self.network.links)
            until_ms = self.world.time_ms + random.randint(100, STALL_MS_MAX)
            for pipe in random.choice(((link.up,), (link.down,), (link.down,), (link.up, link.down))):
                pipe.stalled_until_ms = until_ms

    def _crash(self) -> None:
        node = self.world.random.choice(self.nodes)
        if node.engine is None:
            return
        node.crash()
        if self.world.is_chance(self.weather.rebuild_chance):
            # The log is put up again from a snapshot, under another epoch.
            self.truth.rebuild(SESSION, self._archived())
        self.world.after(self.world.random.randint(10, 1_500), node.start)

    def _fail_over(self) -> None:
        """The store's replicas are cut off, and then its primary dies: what was acknowledged survives it.

        What was committed in between, other nodes have heard of, and may have told.
        """
        if not self.truth.is_parted:
            self.truth.part()
            self.world.after(self.world.random.randint(0, PARTED_MS_MAX), self._end_primary)

    def _end_primary(self) -> None:
        """Another one takes its place; where nobody sees that, its position checks show it. Often nodes die with it."""
        if self._is_calm:
            return
        self.truth.fail_over(SESSION)
        if self.weather.is_failover_noticed:
            self.bus.look_at_all()
        self._share_fate()

    def _wipe(self) -> None:
        """The store comes back empty: what nodes hold of the log is the log, or else what is archived.

        Not again before every node has heard what came of the last time: twice within moments are two faults.
        """
        if not self._is_one_log():
            return
        self.truth.wipe(SESSION, self._archived())
        self.bus.look_at_all()
        self._share_fate()

    def _is_one_log(self) -> bool:
        """No node holds an entry that stands otherwise in the log."""
        log = self.truth.logs[SESSION]
        lives = [node.engine.session(SESSION) for node in self.nodes if node.engine is not None]
        held = [live.machine.log for live in lives if live is not None]
        return all(
            version > log.version or log.txns[version - 1] in ("", txn)
            for one in held
            if one is not None and one.epoch == log.epoch
            for version, txn in one.txns.items()
        )

    def _share_fate(self) -> None:
        for node in self.nodes:
            if node.engine is not None and self.world.is_chance(self.weather.shared_fate_chance):
                node.crash()
                self.world.after(self.world.random.randint(10, 1_500), node.start)

    def _partition(self) -> None:
        """A node is cut off from the others, from the store, or from both, for a while."""
        random, node = self.world.random, self.world.random.choice(self.nodes)
        store, mesh, what = node.store, node.mesh, random.choice(("store", "mesh", "both"))
        if store is None or mesh is None:
            return
        store.is_away, mesh.is_cut = what != "mesh", what != "store"
        self.world.note(f"N{node.number} is cut off from {what}")

        def heal() -> None:
            store.is_away = mesh.is_cut = False

        self.world.after(random.randint(50, 3_000), heal)

    def _archived(self) -> Snapshot:
        """What is kept of the log elsewhere. It may lag; the devices have the rest."""
        log = self.truth.logs[SESSION]
        whole = SessionLog(log.snapshots[0], self.weather.limits)
        end = log.version
        if self.weather.is_forgetful:
            end = max(log.snapshots[0].version, end - self.world.random.randint(0, FORGOTTEN_MAX))
        for version in range(log.snapshots[0].version + 1, end + 1):
            whole.append(log.entry(version), log.digests[version - 1])
        return whole.snapshot()

    def _kill(self) -> None:
        device = self.devices[self.world.random.choice(sorted(self.devices))]
        if device.is_running:
            device.kill(has_power=self.world.is_chance(0.6))
            self.world.after(self.world.random.randint(50, 4_000), device.start)

    def _wander(self) -> None:
        device = self.devices[self.world.random.choice(sorted(self.devices))]
        if not device.is_offline:
            device.go_offline()
            device.skew_ms += self.world.random.choice((0, 0, 3_600_000, -3_600_000))
            self.world.after(self.world.random.randint(100, 6_000), device.go_online)

    # -- calm ---------------------------------------------------------------------------------------------------

    def _calm(self) -> None:
        """Every fault ends now, and so does every deed."""
        self.world.note("calm")
        self._is_calm = True
        self.rest.is_calm = True
        for sloppy in self.sloppy:
            sloppy.is_calm = True
        for app in self.apps:
            app.is_calm = True
        self.network.heal()
        self.truth.is_parted = False
        self.bus.calm()
        for node in self.nodes:
            node.calm()
            if node.engine is None:
                node.start()
        for device in self.devices.values():
            device.is_calm = True
            device.is_offline = False
            device.start()
            device.reconnect(0)
        log = self.truth.logs[SESSION]
        if self.weather.nodes == 1:
            self.nodes[0].tell(SESSION, log.epoch, log.entries[-1:], log.digests[-1:], TxnId(""))
        # Who made much while it was away may say it no faster than its plan allows.
        waiting = max(len(device.replica.pending) for device in self.devices.values())
        end_ms = self.world.time_ms + CALM_MS + waiting * self.weather.plan.push_refill_ms
        while self.world.time_ms < end_ms or self.world.time_ms - log.entries[-1].at < LOOK_MS:
            # The service itself may write (an offer expires), and that too takes a moment to reach everybody.
            self.world.run_until(self.world.time_ms + LOOK_MS)
            self._look()

    def _part(self) -> None:
        """One device goes, and the others see that."""
        gone = self.devices[self.world.random.choice(sorted(self.devices))]
        gone.is_offline = True
        if gone.link is not None:
            gone.link.hang_up()
        self.world.run_until(self.world.time_ms + CALM_MS)
        self._judge_presence([device for device in self.devices.values() if device is not gone])

    def _judge_presence(self, devices: Iterable[SimDevice]) -> None:
        """Every device sees who follows the session, at whatever node, and nobody else."""
        lives = [node.engine.session(SESSION) for node in self.nodes if node.engine is not None]
        there = {str(one.device) for live in lives if live for one in live.machine.members.by_connection.values()}
        for device in devices:
            seen = {one.id for one in device.replica.devices.values() if one.online}
            if seen != there:
                raise Violation("presence", f"{device.name} sees {sorted(seen)}; there are {sorted(there)}")

    def _judge(self) -> None:
        log = self.truth.logs[SESSION]
        head = state_hash(log.state)
        for device in self.devices.values():
            replica = device.replica
            position = replica.position
            if position is None or (position.epoch, position.version) != (log.epoch, log.version):
                raise Violation("P3", f"{device.name} is at {position}; the log ends at {log.epoch} {log.version}")
            if state_hash(replica.confirmed) != head:
                raise Violation("P3", f"{device.name} holds another state at {log.version}")
            if replica.pending:
                raise Violation("P3", f"{device.name} still waits for {replica.pending[0]}")
            if state_hash(replica.state) != head:
                raise Violation("P3", f"{device.name} shows another state than the log's at {log.version}")
            if (replica.fence, replica.active, replica.status) != (
                self.log_checker.fence,
                self.log_checker.active,
                next((entry.status for entry in reversed(log.entries) if entry.status is not None), "active"),
            ):
                raise Violation("P7", f"{device.name} believes {replica.fence} {replica.active} {replica.status}")
        deeds = [deed for device in self.devices.values() for deed in device.deeds.values()]
        check_deeds.check_order(deeds)
        check_deeds.check_counters(log, deeds, COUNTERS)
        for device in self.devices.values():
            local: list[Row] = [{**record.row, "code": record.code} for record in device.replica.conflicts]
            for deed in device.deeds.values():
                check_deeds.check_deed(log, deed, local)
