"""What a case does to the service, and how its outcome is told: one short text, compared with what the row promises.

========================================== ========================================================================
outcome                                    means
========================================== ========================================================================
``426 upgrade_required; closed``           the answer to a request, its code, and whether the connection ended
``close 1002``                             the socket was closed with this code
``error bad_message at $.ops[0]; stays``   the message of the protocol, its code, the place it names, and that the
                                           same connection still answers
``reject bad_patch at op 3; stays``        the same of a push
========================================== ========================================================================
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from tests.catalogue.service import PASSWORD, STATE, Account, ServiceProcess
from tests.wire.rawclient import CLOSE, PING, TEXT, RawClient, Response, frame, head

Send = Callable[["Stage"], Awaitable[str]]
Json = dict[str, Any]

_PLACE = re.compile(r"(\$\S*?): ")
ANSWER_S = 60.0
"""A log-in waits for its turn, and its hashing for the machine; what is slow is seen by the probe, not here."""
_DEEP = re.compile(r"(?:\[0\]){9,}")
_OP = re.compile(r"\bop (\d+)\b")
_addresses = itertools.count(1)


@dataclass
class Stage:
    """The service, and who is in it. Mallory's part is the case's; Olga's must come out as it went in."""

    service: ServiceProcess
    olga: Account
    mallory: Account
    deleted_session: str
    olgas_http: httpx.Client
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def port(self) -> int:
        return self.service.port

    async def rest(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        media: str = "application/json",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Response:
        """One request on a connection of its own, from an address of its own; `body` as bytes is sent as it is."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        bearer = self.mallory.token if token is None else token
        number = next(_addresses)
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: 127.0.0.1",
            f"X-Forwarded-For: 10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
            *([f"Authorization: Bearer {bearer}"] if bearer else []),
            *([f"Content-Type: {media}", f"Content-Length: {len(data)}"] if body is not None else []),
            *(f"{name}: {value}" for name, value in headers),
            "",
            "",
        ]
        async with await RawClient.open(self.port) as client:
            client.send("\r\n".join(lines).encode("latin-1") + data)
            return await client.response(ANSWER_S)

    async def session(self, kind: str = "custom", state: Json | None = None) -> str:
        """A fresh session of Mallory's."""
        made = await self.rest("POST", "/v1/sessions", {"type": kind, "state": STATE if state is None else state})
        assert made.status == 201, made
        return str(json.loads(made.body)["id"])

    async def account(self, *devices: str) -> Stage:
        """The same stage with an account of its own in Mallory's part: for cases that use an account up."""
        email = f"spent-{next(_addresses)}@example.com"
        made = await self.rest("POST", "/v1/accounts", {"email": email, "password": PASSWORD}, token="")
        assert made.status == 201, made
        grant = json.loads(made.body)
        account = Account(grant["account"], email, grant["access_token"], grant["refresh_token"], ())
        stage = replace(self, mallory=account)
        for device in devices:
            assert (await stage.rest("POST", "/v1/devices", {"id": device})).status == 201
        return stage

    async def device(self, *sessions: str, name: str = "tablet") -> Speaker:
        """A device of Mallory's that was welcomed and has joined."""
        client = await RawClient.upgraded(self.port)
        speaker = Speaker(client.reader, client.writer)
        speaker.say(type="hello", token=self.mallory.token, device={"id": name})
        assert (await speaker.hear())["type"] == "welcome"
        for session in sessions:
            speaker.say(type="join", session=session)
            assert (await speaker.hear("joined", "error"))["type"] == "joined"
        return speaker


class Speaker(RawClient):
    """A device's connection that says messages, and anything else."""

    def say(self, **message: Any) -> None:
        self.send(frame(TEXT, json.dumps(message).encode()))

    async def hear(self, *types: str) -> Json:
        """The next message, of one of these types where any are named; a close is a message of type "close"."""
        while True:
            got = await self.frame()
            if got.opcode == PING:
                continue
            if got.opcode == CLOSE:
                return {"type": "close", "code": got.close_code}
            message: Json = json.loads(got.payload)
            if not types or message["type"] in types:
                return message

    async def outcome(self, *types: str) -> str:
        """What is heard next of these types, and whether the connection stays."""
        heard = await self.hear(*types, "close")
        if heard["type"] == "close":
            return f"close {heard['code']}"
        told = f"{heard['type']}{of(heard)}"
        self.say(type="clock", t0=1)
        after = await self.hear("clock", "close")
        return f"{told}; stays" if after["type"] == "clock" else f"{told}; close {after['code']}"


def of(message: Json) -> str:
    """The code and the place that a message or a problem names."""
    text = str(message.get("message") or message.get("detail") or "")
    code = f" {message['code']}" if message.get("code") else ""
    place = _PLACE.match(text) or _PLACE.search(text)
    op = _OP.search(text)
    return code + (f" at {_DEEP.sub('[0]...', place[1])}" if place else f" at op {op[1]}" if op else "")


async def answer(client: RawClient) -> str:
    """The answer to a request, its code, and whether the connection ended."""
    response = await client.response()
    code = of(json.loads(response.body)) if response.body else ""
    if response.headers.get("connection") == "close":
        assert await client.rest() == b""
        return f"{response.status}{code}; closed"
    return f"{response.status}{code}"


# -- ways to send -----------------------------------------------------------------------------------------------


def handshake(data: bytes) -> Send:
    """These bytes as the first ones of a connection."""

    async def send(stage: Stage) -> str:
        async with await RawClient.open(stage.port) as client:
            client.send(data)
            return await answer(client)

    return send


def request(line: str = "GET /v1/ws HTTP/1.1", **changes: Any) -> Send:
    """A handshake that differs so from a good one."""
    return handshake(head(line, **changes))


def frames(*data: bytes) -> Send:
    """These bytes on the connection of a device that has joined a session."""

    async def send(stage: Stage) -> str:
        async with await stage.device(await stage.session()) as device:
            for one in data:
                device.send(one)
            return await device.outcome("error", "reject", "ack")

    return send


def text(said: str | bytes) -> Send:
    """This text as one message, with ``SESSION`` replaced by the id of a session that the device has joined."""

    async def send(stage: Stage) -> str:
        session = await stage.session()
        async with await stage.device(session) as device:
            data = said if isinstance(said, bytes) else said.encode()
            device.send(frame(TEXT, data.replace(b"SESSION", session.encode())))
            outcome = await device.outcome("error", "reject", "ack")
        await unchanged(stage, session, outcome)
        return outcome

    return send


def push(ops: list[Json] | None = None, *, kind: str = "custom", state: Json | None = None, **more: Any) -> Send:
    """A push of these ops; whatever comes of it, a push that is not acknowledged changes nothing."""

    async def send(stage: Stage) -> str:
        session = await stage.session(kind, state)
        async with await stage.device(session) as device:
            message = {"type": "push", "session": session, "seq": 1, "base": 1, "ops": ops or []} | more
            device.say(**message)
            outcome = await device.outcome("error", "reject", "ack")
        await unchanged(stage, session, outcome, state)
        return outcome

    return send


def patch(ops: Any, *, media: str = "application/json-patch+json", state: Json | None = None) -> Send:
    """The same ops over REST."""

    async def send(stage: Stage) -> str:
        session = await stage.session("custom", state)
        response = await stage.rest("PATCH", f"/v1/sessions/{session}/state", ops, media=media)
        outcome = told(response)
        await unchanged(stage, session, outcome, state)
        return outcome

    return send


def rest(method: str, path: str, body: Any = None, **more: Any) -> Send:
    """One request, with ``MINE`` in its path replaced by the id of a fresh session."""

    async def send(stage: Stage) -> str:
        mine = await stage.session() if "MINE" in path else ""
        return told(await stage.rest(method, path.replace("MINE", mine), body, **more))

    return send


def hello(token: Callable[[Stage], str], device: str = "tablet") -> Send:
    """A hello with this token: what is heard first."""

    async def send(stage: Stage) -> str:
        async with await RawClient.upgraded(stage.port) as client:
            speaker = Speaker(client.reader, client.writer)
            speaker.say(type="hello", token=token(stage), device={"id": device})
            heard = await speaker.hear()
            if heard["type"] == "close":
                return f"close {heard['code']}"
            if heard["type"] == "welcome":
                return "welcome"
            return f"{heard['type']}{of(heard)}; close {(await speaker.hear('close'))['code']}"

    return send


def bearer(token: Callable[[Stage], str]) -> Send:
    """A request with this token."""

    async def send(stage: Stage) -> str:
        return told(await stage.rest("GET", "/v1/me", token=token(stage)))

    return send


def told(response: Response) -> str:
    """The status, the code and the place of an answer."""
    is_problem = response.headers.get("content-type", "").startswith("application/problem+json")
    return f"{response.status}{of(json.loads(response.body)) if is_problem else ''}"


async def unchanged(stage: Stage, session: str, outcome: str, state: Json | None = None) -> None:
    """Unless it was taken, the session is at version 1 with the state that it began with."""
    if outcome.startswith(("ack", "200")):
        return
    view = await stage.rest("GET", f"/v1/sessions/{session}/state")
    assert json.loads(view.body) == (STATE if state is None else state), view.body[:500]
    assert '.1"' in view.headers["etag"] or view.headers["etag"].endswith('1"'), view.headers["etag"]


async def log_in(stage: Stage, email: str, password: str = PASSWORD) -> Response:
    """A log-in by password."""
    body = {"grant_type": "password", "email": email, "password": password}
    return await stage.rest("POST", "/v1/auth/token", body, token="")


async def many(count: int, send: Callable[[int], Awaitable[Any]]) -> list[Any]:
    """All of them at once."""
    return list(await asyncio.gather(*(send(number) for number in range(count))))
