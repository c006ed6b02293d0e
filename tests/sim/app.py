"""What a person does on a device: edits under every policy, plays, seeks, hands over, goes away, comes back."""

from __future__ import annotations

from functools import partial
from typing import Any

from syncbridge.client.pending import QueueFull
from syncbridge.core.entry import Intent
from syncbridge.core.ids import Op
from syncbridge.core.messages import (
    HandoffCancel,
    HandoffConfirm,
    HandoffDecline,
    HandoffOffer,
    HandoffPrepare,
    HandoffReady,
    HandoffTake,
    Signal,
)
from syncbridge.core.playhead import Anchor, of_state
from syncbridge.errors import MessageTooLarge, NotJoined
from tests.sim.deeds import MISSING, REGISTERS, Deed, value_at
from tests.sim.device import SimDevice

FOUNDING: dict[str, Any] = {
    "settings": {"theme": "first", "voice": "first"},
    "notes": {"a": "first"},
    "totals": {"breaths": 0, "laps": 0},
    "best": {"calm": 0},
    "tags": ["first"],
    "marks": [],
    "list": ["l1", "l2", "l3"],
}
"""What every session starts with here, beside the initial state of its kind."""

COUNTERS = ("/totals/breaths", "/totals/laps")
EDITS = ("register", "register", "counter", "counter", "tag", "untag", "mark", "best", "insert", "remove", "swap")

BY_INDEX = frozenset({"insert", "remove", "swap", "untag"})


class App:
    """The app on one device. It reports progress honestly, unless ``is_stale``: then it repeats what it once knew."""

    def __init__(self, device: SimDevice, others: list[str], *, is_stale: bool) -> None:
        self.device = device
        self.world = device.world
        self.others = others
        self.is_stale = is_stale
        self.is_calm = False
        self._cached: dict[str, Any] | None = None
        self._token = 0
        device.prepare = self.on_prepare
        self._plan()

    # -- the day ------------------------------------------------------------------------------------------------

    def _plan(self) -> None:
        pause_ms = 1 + int(self.world.random.expovariate(1 / max(1, self.device.weather.act_mean_ms)))
        self.world.after(pause_ms, self._act)

    def _act(self) -> None:
        if self.is_calm:
            return
        device, world = self.device, self.world
        if device.is_running and device.replica.has_state:
            share = world.random.random()
            if share < device.weather.handoff_share:
                self._hand_over()
            elif share < device.weather.handoff_share + 0.2:
                self._play()
            else:
                for _ in range(world.random.choice((1, 1, 1, 2, 5))):
                    self._edit()
            device.after_change()
        self._plan()

    def _new_token(self) -> str:
        self._token += 1
        return f"{self.device.name}.{self.device.kills}.{self._token}"

    # -- edits --------------------------------------------------------------------------------------------------

    def _edit(self) -> None:
        random, state = self.world.random, self.device.replica.state
        token = self._new_token()
        what = random.choice(EDITS)
        if what in BY_INDEX and self.device.replica.pending and not self.device.weather.is_careless:
            what = "register"
        items = state.get("list")
        items = items if isinstance(items, list) else []
        match what:
            case "register":
                path = random.choice(REGISTERS)
                op = {"op": random.choice(("add", "replace")) if value_at(state, path) != MISSING else "add"}
                self._do(what, path, token, {**op, "path": path, "value": token})
            case "counter":
                path, amount = random.choice(COUNTERS), random.randint(1, self.device.weather.amount_max)
                now = value_at(state, path)
                value = (now if isinstance(now, int) else 0) + amount
                self._do(what, path, value, {"op": "add", "path": path, "value": value}, amount=amount)
            case "tag":
                self._do(what, "/tags", token, {"op": "add", "path": "/tags/-", "value": token})
            case "untag":
                tags = state.get("tags")
                if isinstance(tags, list) and tags:
                    index = random.randrange(len(tags))
                    self._do(what, "/tags", tags[index], {"op": "remove", "path": f"/tags/{index}"})
            case "mark":
                self._do(what, "/marks", token, {"op": "add", "path": "/marks/-", "value": {"id": token, "n": 1}})
            case "best":
                best = value_at(state, "/best/calm")
                value = (best if isinstance(best, int) else 0) + random.randint(1, 50)
                self._do(what, "/best/calm", value, {"op": "add", "path": "/best/calm", "value": value})
            case "insert":
                index = random.randint(0, len(items))
                self._do(what, "/list", token, {"op": "add", "path": f"/list/{index}", "value": token})
            case "remove" if items:
                index = random.randrange(len(items))
                self._do(what, "/list", items[index], {"op": "remove", "path": f"/list/{index}"})
            case "swap" if items:
                index = random.randrange(len(items))
                op = {"op": "replace", "path": f"/list/{index}", "value": token}
                self._do(what, "/list", token, op, seen=items[index])

    def _do(self, what: str, path: str, value: Any, op: Op, *, amount: int = 0, seen: Any = None) -> None:
        device = self.device
        seen = value_at(device.replica.state, path) if seen is None else seen
        key = self.edit([op], "edit")
        if key is not None:
            deed = Deed(device.name, key, what, path, value, seen, self.world.time_ms, amount)
            device.deeds[key] = deed
            self.world.note(f"{device.name} {what} {path} {value!r} key {key}")

    def edit(self, ops: list[Op], intent: Intent, *, fence: int | None = None) -> int | None:
        """The edit's key in the replica; None where the replica would not take it."""
        replica = self.device.replica
        try:
            one = replica.edit(ops, intent, self.device.server_ms(), fence=fence)
        except (QueueFull, MessageTooLarge, NotJoined):
            return None
        return None if one is None else one.key

    # -- the player ---------------------------------------------------------------------------------------------

    def _play(self) -> None:
        device, random = self.device, self.world.random
        replica, now_ms = device.replica, device.server_ms()
        anchor = of_state(replica.state) or Anchor(0.0, 0.0, 0)
        act = random.choice(("progress", "progress", "progress", "toggle", "toggle", "seek", "open", "finish"))
        if act == "open":
            self.edit([], "open")
            return
        if act == "finish":
            if random.random() < 0.05 and replica.is_active:
                self.edit([], "finish")
            return
        if act == "toggle":
            moved = anchor.re_anchored(now_ms, rate=0.0 if anchor.rate else 1.0).as_json()
            self._move(moved, "seek")
            return
        if act == "seek":
            self._move(Anchor(float(random.randint(0, 3_000)), anchor.rate, now_ms).as_json(), "seek")
            return
        fence = replica.fence if random.random() < 0.5 else None
        if self.is_stale or random.random() < 0.1:
            # A player that was just opened, or one that never learnt that life went on elsewhere.
            stale = self._cached or {"position": 0, "rate": 0, "at": now_ms}
            self._move({**stale, "at": random.choice((now_ms, stale["at"]))}, "progress", fence)
            return
        if replica.is_active:
            jitter_s = random.choice((0.0, 0.0, 0.3, -0.3))
            honest = anchor.re_anchored(now_ms)
            self._cached = Anchor(max(0.0, honest.position + jitter_s), honest.rate, now_ms).as_json()
            self._move(self._cached, "progress", fence)

    def _move(self, anchor: dict[str, Any], intent: Intent, fence: int | None = None) -> None:
        self.edit([{"op": "add", "path": "/playhead", "value": anchor}], intent, fence=fence)

    # -- handing over -------------------------------------------------------------------------------------------

    def _hand_over(self) -> None:
        device, random = self.device, self.world.random
        act = random.choice(("offer", "offer", "take", "take", "cancel", "decline", "signal", "crash"))
        offer = device.replica.offer
        match act:
            case "offer":
                expires_ms = random.choice((None, 200, 2_000, 60_000))
                device.say(HandoffOffer(device.session, random.choice(self.others), expires_ms))
            case "take":
                device.say(HandoffTake(device.session))
            case "cancel" if offer is not None:
                device.say(HandoffCancel(device.session, offer.handoff))
            case "decline" if offer is not None:
                device.say(HandoffDecline(device.session, offer.handoff))
            case "signal":
                device.say(Signal(device.session, {"heart": random.randint(50, 120)}))
            case "crash" if device.weather.kill_mean_ms:
                device.kill(has_power=random.random() < 0.5)
                self.world.after(random.randint(100, 3_000), device.start)

    def on_prepare(self, message: HandoffPrepare) -> None:
        """The person accepts, declines, does not look, or loses the device right now."""
        random = self.world.random
        act = random.choice(("ready", "ready", "ready", "decline", "ignore", "die"))
        if act == "die" and not self.device.weather.kill_mean_ms:
            act = "ready"
        self.world.after(random.choice((0, 5, 300)), partial(self._answer, act, message))

    def _answer(self, act: str, message: HandoffPrepare) -> None:
        device = self.device
        if not device.is_running or self.is_calm:
            return
        match act:
            case "ready":
                device.say(HandoffReady(message.session, message.handoff))
                device.say(HandoffConfirm(message.session, message.handoff))
                if self.world.is_chance(0.1) and device.weather.kill_mean_ms:
                    device.kill()
                    self.world.after(500, device.start)
            case "decline":
                device.say(HandoffDecline(message.session, message.handoff))
            case "die":
                device.kill(has_power=False)
                self.world.after(1_000, device.start)
