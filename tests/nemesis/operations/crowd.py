"""Devices that come through the edge, over TLS, and lose nothing: the Python client, as people's apps have it."""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import AsyncExitStack

from syncbridge.client import Device, Session, connect, picows_dial
from tests.nemesis.operations.people import DEADLINE_S, Person
from tests.nemesis.operations.stage import Stage


class Editor:
    """One device in one session: it changes something, waits for the acknowledgement, and goes on."""

    def __init__(self, name: str, session: Session) -> None:
        self.name, self.session = name, session
        self.acked: list[str] = []
        self.waits_s: list[float] = []

    async def edit(self) -> None:
        key = f"{self.name}-{len(self.acked)}"
        began = time.monotonic()
        async with asyncio.timeout(DEADLINE_S):
            await (await self.session.set(f"/{key}", 1)).acked()
        self.waits_s.append(time.monotonic() - began)
        self.acked.append(key)

    async def keep_editing(self, over: asyncio.Event, *, pause_s: float = 0.02) -> None:
        while not over.is_set():
            await self.edit()
            await asyncio.sleep(pause_s)


class Crowd:
    """People with some devices each, all in one session of theirs."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.people: list[tuple[Person, str, list[Editor]]] = []

    @property
    def editors(self) -> list[Editor]:
        return [editor for _, _, editors in self.people for editor in editors]

    async def come(self, name: str, stack: AsyncExitStack, *, people: int, devices: int) -> None:
        """All of them are joined; the edge deals them out over the nodes."""
        trust = ssl.create_default_context(cafile=str(self.stage.edge.authority))
        url = f"wss://localhost:{self.stage.edge.port}/v1/ws"
        for number in range(people):
            person = await Person.new(f"{name}-{number}@example.com", self.stage.nodes[number % 2], stack)
            session = await person.make_session(self.stage.nodes[0])
            editors = []
            for one in range(devices):
                device = Device(f"device-{one}")
                bridge = connect(url, token=person.token, device=device, dial=picows_dial(trust))
                joined = await (await stack.enter_async_context(bridge)).join(session)
                editors.append(Editor(device.id, joined))
            self.people.append((person, session, editors))

    async def lost(self) -> list[str]:
        """What was acknowledged, and is not there at one of the nodes."""
        missing: list[str] = []
        for person, session, editors in self.people:
            for node in self.stage.nodes:
                state = await person.get(node, f"/v1/sessions/{session}/state")
                missing += [f"{session}/{key}" for one in editors for key in one.acked if key not in state]
        return missing
