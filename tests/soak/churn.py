"""Devices that come and go, each in one of the ways in which that can happen, over TLS."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tests.soak.process import Account, ServiceProcess, hear, say
from tests.wire.rawclient import BINARY, CLOSE, PING, TEXT, RawClient, frame, head

DEVICES_EACH = 5
MIB_PER_MINUTE_MAX = 1.0
RATE_PER_S = 20.0


class Visit(NamedTuple):
    service: ServiceProcess
    account: Account
    device: str


async def _secure(visit: Visit) -> RawClient:
    return await RawClient.open(visit.service.tls_port, visit.service.trust)


async def _upgraded(visit: Visit) -> RawClient:
    return await RawClient.upgraded(visit.service.tls_port, visit.service.trust)


async def _joined(visit: Visit) -> RawClient:
    return await visit.service.device(visit.account, visit.device, await _upgraded(visit))


async def stays_and_says_goodbye(visit: Visit) -> None:
    async with await _joined(visit) as client:
        say(client, type="leave", session=visit.account.session)
        await hear(client, "left")
        client.send(frame(CLOSE, b"\x03\xe8"))
        await client.rest()


async def is_cut_while_it_follows(visit: Visit) -> None:
    async with await _joined(visit):
        pass


async def is_cut_within_a_message(visit: Visit) -> None:
    async with await _joined(visit) as client:
        client.send(frame(TEXT, b"x" * 2_000)[:1_000] if visit.device > "d2" else frame(TEXT, b"x", is_final=False))
        await client.writer.drain()


async def closes_and_does_not_wait(visit: Visit) -> None:
    async with await _joined(visit) as client:
        client.send(frame(CLOSE, b"\x03\xe8"))
        await client.writer.drain()


async def never_answers_our_close(visit: Visit) -> None:
    async with await _upgraded(visit) as client:
        say(client, type="hello", token="none", device={"id": visit.device})
        while (await client.frame()).opcode != CLOSE:
            pass


async def breaks_a_rule_of_frames(visit: Visit) -> None:
    async with await _joined(visit) as client:
        client.send(frame(BINARY, b"x") if visit.device > "d2" else frame(PING, b"x") * 40)
        while (await client.frame()).opcode != CLOSE:
            pass
        await client.rest()


async def never_says_hello(visit: Visit) -> None:
    async with await _upgraded(visit):
        pass


async def is_refused_at_the_handshake(visit: Visit) -> None:
    async with await _secure(visit) as client:
        client.send(head("GET /v1/ws?token=x HTTP/1.1"))
        assert (await client.response()).status == 400


async def is_cut_within_its_request(visit: Visit) -> None:
    async with await _secure(visit) as client:
        client.send(head()[:60])
        await client.writer.drain()


async def asks_rest_and_goes(visit: Visit) -> None:
    async with await _secure(visit) as client:
        client.send(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.response()).status == 200
        client.send(head())  # the same connection becomes a socket
        assert (await client.response()).status == 101


async def is_cut_within_its_tls_handshake(visit: Visit) -> None:
    async with await RawClient.open(visit.service.tls_port) as client:
        client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        await client.writer.drain()


async def knocks_and_goes(visit: Visit) -> None:
    async with await RawClient.open(visit.service.tls_port):
        pass


async def resets(visit: Visit) -> None:
    """A reset and no end: what a crashed machine, or a firewall, leaves."""
    client = await _joined(visit)
    raw: socket.socket = client.writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    await client.__aexit__()


WAYS: tuple[Callable[[Visit], Awaitable[None]], ...] = (
    stays_and_says_goodbye,
    is_cut_while_it_follows,
    is_cut_within_a_message,
    closes_and_does_not_wait,
    never_answers_our_close,
    breaks_a_rule_of_frames,
    never_says_hello,
    is_refused_at_the_handshake,
    is_cut_within_its_request,
    asks_rest_and_goes,
    is_cut_within_its_tls_handshake,
    knocks_and_goes,
    resets,
)


class Churn:
    """Visits in turn: ways, accounts and devices go round, so that a run of the same length is the same run."""

    def __init__(self, service: ServiceProcess) -> None:
        self._service = service
        self.visits = 0

    def _next(self, place: int) -> Awaitable[None]:
        """The next visit, by a device that nobody else is: two of one device would put each other out."""
        number, self.visits = self.visits, self.visits + 1
        accounts = self._service.accounts
        visit = Visit(self._service, accounts[place % len(accounts)], f"d{place // len(accounts) % DEVICES_EACH}")
        return WAYS[number % len(WAYS)](visit)

    async def visit(self, count: int, *, at_once: int) -> None:
        """So many visits were made and are over, a few of them at a time, as fast as they go."""

        async def one_after_another(place: int) -> None:
            for _ in range(count // at_once):
                await self._next(place)

        await asyncio.gather(*(one_after_another(place) for place in range(at_once)))

    async def visit_at(self, rate_per_s: float, seconds: float) -> None:
        """Visits begin at an even pace for so long; all of them are over."""
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        under_way: set[asyncio.Future[None]] = set()
        for number in range(int(rate_per_s * seconds)):
            await asyncio.sleep(max(0.0, begin_s + number / rate_per_s - loop.time()))
            task = asyncio.ensure_future(self._next(number))
            under_way.add(task)
            if task.done() or len(under_way) > 200:
                done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    one.result()
        await asyncio.gather(*under_way)


NOBODY = ("connections", "sockets", "newcomers", "strangers", "devices", "sessions")
"""Counts that are none when everybody has gone."""


async def quiet(service: ServiceProcess) -> dict[str, float]:
    """What the service holds when everybody has gone and it has noticed; fails when it keeps somebody."""
    return await service.when(lambda held: not any(held[name] for name in NOBODY))


def left_behind(before: dict[str, float], after: dict[str, float]) -> list[str]:
    """What grew between two quiet moments, though nothing that was opened is open."""
    return [
        f"{name}: {before[name]:.0f} -> {after[name]:.0f}"
        for name in ("descriptors", "tasks")
        if after[name] > before[name]
    ]


def slope(points: list[tuple[float, float]]) -> float:
    """Least squares through the points (x, y)."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
