"""Conversations as they travelled, recorded from an older version, and their replay against this one.

A tape is a list of steps: a device says something, and then each device hears what is listed. What differs at every run
(times, ids that the server gives, sentences) is compared by its kind alone; every other member that the tape holds must
be there with the same value. Members and messages that the tape does not know may come: version 1 grows by them.

``python -m tests.compat.tape`` records the scripts below against the code that is imported. It was run on the first
release's protocol; run it on a release that is to be kept compatible, never to make a red test green.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import websockets

from syncbridge.app import Service
from syncbridge.auth import AuthRules
from syncbridge.config import Settings

Json = dict[str, Any]
TAPES = Path(__file__).with_name("tapes")
HEAR_S = 30.0
PASSWORD = "correct horse battery"
STATE = {"n": 1, "count": 0, "note": "a", "playhead": {"position": 60, "rate": 0, "at": 1}}

VARIES = frozenset(
    [
        "connection",
        "server_time",
        "token_expires_at",
        "at",
        "expires_at",
        "t1",
        "t2",
        "handoff",
        "epoch",
        "session",
        "message",
        "made_at",
        "uncertainty_ms",
        "hash",
        "reconnect_after_ms",
        "retry_after_ms",
        "limits",
        "device_id",
    ]
)
"""Members whose value is a run's own, or an operator's."""

EDIT = {"op": "replace", "path": "/n", "value": 2}
SCRIPTS: dict[str, list[tuple[str, Json, dict[str, list[str]]]]] = {
    "edits-and-conflicts": [
        ("phone", {"type": "join", "session": "$session", "ref": "j"}, {"phone": ["joined"]}),
        ("tv", {"type": "join", "session": "$session"}, {"tv": ["joined"], "phone": ["presence"]}),
        (
            "phone",
            {"type": "push", "session": "$session", "seq": 1, "base": 1, "ops": [EDIT]},
            {"phone": ["ack"], "tv": ["entry"]},
        ),
        (
            "tv",
            {"type": "push", "session": "$session", "seq": 1, "base": 1, "ops": [{**EDIT, "value": 3}]},
            {"tv": ["ack"], "phone": ["entry"]},
        ),
        (
            "tv",
            {"type": "push", "session": "$session", "seq": 1, "base": 1, "ops": [{**EDIT, "value": 3}]},
            {"tv": ["ack"]},
        ),
        (
            "tv",
            {"type": "push", "session": "$session", "seq": 1, "base": 1, "ops": [{**EDIT, "value": 4}]},
            {"tv": ["reject"]},
        ),
        ("tv", {"type": "push", "session": "$session", "seq": 7, "base": 1, "ops": [EDIT]}, {"tv": ["reject"]}),
        ("tv", {"type": "push", "session": "$session", "seq": 2, "base": 99, "ops": [EDIT]}, {"tv": ["reject"]}),
        (
            "phone",
            {"type": "push", "session": "$session", "seq": 2, "base": 3, "ops": [], "intent": "open"},
            {"phone": ["ack"]},
        ),
        (
            "phone",
            {
                "type": "push",
                "session": "$session",
                "seq": 3,
                "base": 3,
                "intent": "seek",
                "ops": [{"op": "replace", "path": "/playhead", "value": {"position": 30, "rate": 0, "at": 1}}],
            },
            {"phone": ["ack"], "tv": ["entry"]},
        ),
        (
            "tv",
            {
                "type": "push",
                "session": "$session",
                "seq": 3,
                "base": 4,
                "intent": "progress",
                "ops": [{"op": "replace", "path": "/playhead", "value": {"position": 90, "rate": 0, "at": 1}}],
            },
            {"tv": ["reject"]},
        ),
        ("phone", {"type": "signal", "session": "$session", "data": {"heart_rate": 61}}, {"tv": ["signal"]}),
        ("phone", {"type": "leave", "session": "$session"}, {"phone": ["left"], "tv": ["presence"]}),
        (
            "phone",
            {"type": "join", "session": "$session", "position": {"epoch": "$epoch", "version": 2}, "seq": 4},
            {"phone": ["joined"], "tv": ["presence"]},
        ),
        ("phone", {"type": "leave", "session": "$session"}, {"phone": ["left"], "tv": ["presence"]}),
        (
            "phone",
            {"type": "join", "session": "$session", "position": {"epoch": "other", "version": 2}},
            {"phone": ["joined"], "tv": ["presence"]},
        ),
    ],
    "handoffs": [
        ("phone", {"type": "join", "session": "$session"}, {"phone": ["joined"]}),
        ("tv", {"type": "join", "session": "$session"}, {"tv": ["joined"], "phone": ["presence"]}),
        (
            "phone",
            {"type": "handoff.take", "session": "$session", "ref": "t"},
            {"phone": ["entry", "handoff.done"], "tv": ["entry", "handoff.done"]},
        ),
        (
            "phone",
            {"type": "handoff.offer", "session": "$session", "to": "tv", "ref": "o"},
            {"phone": ["entry", "handoff.offered"], "tv": ["entry", "handoff.prepare"]},
        ),
        (
            "tv",
            {"type": "handoff.ready", "session": "$session", "handoff": "$handoff"},
            {"phone": ["entry", "handoff.done"], "tv": ["entry", "handoff.done"]},
        ),
        ("tv", {"type": "handoff.confirm", "session": "$session", "handoff": "$handoff"}, {}),
        (
            "tv",
            {"type": "handoff.offer", "session": "$session", "to": "phone"},
            {"tv": ["entry", "handoff.offered"], "phone": ["entry", "handoff.prepare"]},
        ),
        (
            "phone",
            {"type": "handoff.decline", "session": "$session", "handoff": "$handoff"},
            {"tv": ["entry", "handoff.failed"], "phone": ["entry"]},
        ),
        (
            "tv",
            {"type": "handoff.offer", "session": "$session", "to": "phone"},
            {"tv": ["entry", "handoff.offered"], "phone": ["entry", "handoff.prepare"]},
        ),
        (
            "tv",
            {"type": "handoff.cancel", "session": "$session", "handoff": "$handoff"},
            {"tv": ["entry", "handoff.failed"], "phone": ["entry"]},
        ),
        ("tv", {"type": "handoff.offer", "session": "$session", "to": "tv"}, {"tv": ["error"]}),
        ("tv", {"type": "handoff.ready", "session": "$session", "handoff": "none"}, {"tv": ["error"]}),
        (
            "tv",
            {"type": "push", "session": "$session", "seq": 1, "base": 8, "intent": "finish", "ops": []},
            {"tv": ["ack"], "phone": ["entry"]},
        ),
    ],
    "connection": [
        ("phone", {"type": "clock", "t0": 12.5}, {"phone": ["clock"]}),
        ("phone", {"type": "auth", "token": "$token"}, {"phone": ["token.accepted"]}),
        ("phone", {"type": "hello", "token": "$token", "device": {"id": "phone"}}, {"phone": ["error"]}),
        ("phone", {"type": "join", "session": "none"}, {"phone": ["error"]}),
        ("phone", {"type": "push", "session": "none", "seq": 1, "base": 1, "ops": []}, {"phone": ["error"]}),
        ("phone", {"type": "a.type.of.later"}, {"phone": ["error"]}),
        ("phone", {"type": "push", "session": 7}, {"phone": ["error"]}),
        ("phone", {"type": "auth", "token": "nonsense"}, {"phone": ["error"]}),
    ],
}


class Line:
    """One device's connection."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket

    async def hear(self) -> Json:
        async with asyncio.timeout(HEAR_S):
            message: Json = json.loads(await self.socket.recv())
            return message


class Stage:
    """A service of this version, two devices of one account on it, and the values that a tape names."""

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}
        self.values: dict[str, str] = {}
        self.welcomes: dict[str, Json] = {}

    async def begin(self, stack: AsyncExitStack, folder: Path) -> None:
        rules = AuthRules(argon2_time_cost=1, argon2_memory_kib=8)
        settings = Settings(port=0, data_dir=folder / "data", auth=rules)
        service = await stack.enter_async_context(Service.running(settings))
        base = f"http://127.0.0.1:{service.server.port}"
        async with httpx.AsyncClient(base_url=base, trust_env=False, verify=False, timeout=HEAR_S) as http:
            made = await http.post("/v1/accounts", json={"email": "ann@example.com", "password": PASSWORD})
            self.values["$token"] = made.json()["access_token"]
            http.headers["Authorization"] = f"Bearer {self.values['$token']}"
            for device in ("phone", "tv"):
                assert (await http.post("/v1/devices", json={"id": device, "name": device})).status_code == 201
            session = await http.post("/v1/sessions", json={"type": "custom", "state": STATE})
            self.values["$session"] = session.json()["id"]
        for device in ("phone", "tv"):
            socket = await websockets.connect(f"{base.replace('http', 'ws', 1)}/v1/ws", proxy=None, close_timeout=1)
            stack.push_async_callback(socket.close)
            line = self.lines[device] = Line(socket)
            hello = {"type": "hello", "token": self.values["$token"], "device": {"id": device, "name": device}}
            await socket.send(json.dumps(hello))
            self.welcomes[device] = await line.hear()

    async def say(self, device: str, message: Json) -> None:
        text = json.dumps(message)
        for name, value in self.values.items():
            text = text.replace(name, value)
        await self.lines[device].socket.send(text)

    def learn(self, message: Json) -> None:
        """What later steps name."""
        if isinstance(message.get("handoff"), str):
            self.values["$handoff"] = message["handoff"]
        if message["type"] == "joined":
            self.values["$epoch"] = message["position"]["epoch"]


async def record(name: str, folder: Path) -> Json:
    """The script as it goes on the imported code."""
    async with AsyncExitStack() as stack:
        stage = Stage()
        await stage.begin(stack, folder)
        steps: list[Json] = []
        for device, says, awaited in SCRIPTS[name]:
            await stage.say(device, says)
            hears: dict[str, list[Json]] = {}
            for there, types in awaited.items():
                for kind in types:
                    while True:
                        message = await stage.lines[there].hear()
                        hears.setdefault(there, []).append(message)
                        stage.learn(message)
                        if message["type"] == kind:
                            break
            steps.append({"device": device, "says": says, "hears": hears})
        return {"welcome": stage.welcomes["phone"], "steps": steps}


async def replay(tape: Json, folder: Path) -> list[str]:
    """What of the tape this version does not do any more."""
    async with AsyncExitStack() as stack:
        stage = Stage()
        await stage.begin(stack, folder)
        complaints = list(missing(tape["welcome"], stage.welcomes["phone"], "welcome"))
        for number, step in enumerate(tape["steps"]):
            await stage.say(step["device"], step["says"])
            for there, messages in step["hears"].items():
                for wanted in messages:
                    place = f"step {number}, {there}, {wanted['type']}"
                    heard = await _next(stage.lines[there], wanted["type"], known_types(tape))
                    stage.learn(heard)
                    complaints += missing(wanted, heard, place)
                    if complaints:
                        return complaints
        return complaints


def known_types(tape: Json) -> set[str]:
    """Types that whoever recorded the tape knew."""
    return {one["type"] for step in tape["steps"] for heard in step["hears"].values() for one in heard}


async def _next(line: Line, kind: str, known: set[str]) -> Json:
    while True:
        heard = await line.hear()
        if heard["type"] == kind or heard["type"] in known:
            return heard  # another one that was known: told as the difference that it is


def _varies(name: str, place: str) -> bool:
    return name in VARIES or (name == "id" and place.endswith(".handoff"))


def missing(wanted: Any, heard: Any, place: str) -> list[str]:
    """What of the recorded value is not there any more, or means something else."""
    if isinstance(wanted, dict):
        if not isinstance(heard, dict):
            return [f"{place}: {heard!r} is no object"]
        found: list[str] = []
        for name, value in wanted.items():
            if name not in heard:
                found.append(f"{place}.{name} is gone")
            elif _varies(name, place) and not isinstance(value, dict | list):
                if type(heard[name]) is not type(value):
                    found.append(f"{place}.{name} is {type(heard[name]).__name__}, was {type(value).__name__}")
            elif name == "limits":
                found += [f"{place}.limits.{one} is gone" for one in value.keys() - heard[name].keys()]
            else:
                found += missing(value, heard[name], f"{place}.{name}")
        return found
    if isinstance(wanted, list):
        if not isinstance(heard, list) or len(heard) != len(wanted):
            return [f"{place}: {heard!r} was {wanted!r}"]
        return [
            one
            for index, (a, b) in enumerate(zip(wanted, heard, strict=True))
            for one in missing(a, b, f"{place}[{index}]")
        ]
    return [] if wanted == heard and type(wanted) is type(heard) else [f"{place}: {heard!r} was {wanted!r}"]


async def main() -> None:
    """Every script is recorded."""
    for name in SCRIPTS:
        with tempfile.TemporaryDirectory() as folder:
            tape = await record(name, Path(folder))
        lines = ",\n".join(f"    {json.dumps(step)}" for step in tape["steps"])
        text = f'{{\n  "welcome": {json.dumps(tape["welcome"])},\n  "steps": [\n{lines}\n  ]\n}}\n'
        TAPES.joinpath(f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
