"""Devices that read slowly, never, or only ping: what they can make the server hold."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import sys
import termios

import pytest

from syncbridge.net.handover import SocketProtocol
from tests.wire.conftest import Certificate, Serve, Served, until
from tests.wire.rawclient import CLOSE, PING, PONG, TEXT, RawClient, frame, head

PAYLOAD = b"x" * 4096
BUDGET = {"outlet_low_bytes": 16_384, "outlet_bytes_max": 65_536, "outlet_bytes_hard_max": 131_072}
FAR_MS = 10**12
"""A clock that a test moves; the server's own looks are of long before, and change nothing."""


def only_socket(served: Served) -> SocketProtocol:
    (protocol,) = served.server.door.sockets
    return protocol


async def slow_client(served: Served, certificate: Certificate | None = None) -> RawClient:
    """A client whose kernel takes little and whose program reads nothing until it is asked to."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", served.port))
    reader, writer = await asyncio.open_connection(
        sock=raw,
        limit=1024,
        ssl=certificate.trust if certificate else None,
        server_hostname="127.0.0.1" if certificate else None,
    )
    client = RawClient(reader, writer)
    client.send(head())
    assert (await client.response()).status == 101
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a reading transport, whatever the stub says
    return client


def fill(served: Served) -> int:
    """Sends until the outlet says stop; how many it took."""
    outlet = served.last.outlet
    assert outlet is not None
    count = 1
    while outlet.send(PAYLOAD):
        count += 1
    return count


async def fill_up(served: Served) -> int:
    """Sends, a few a turn, until the kernel is full too and the outlet says stop; how many it took."""
    outlet = served.last.outlet
    assert outlet is not None
    count = 0
    while True:
        for _ in range(4):
            count += 1
            if not outlet.send(PAYLOAD):
                return count
        await asyncio.sleep(0)


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
async def test_device_over_its_budget_is_told_to_catch_up_once_it_reads_again(
    serve: Serve, certificate: Certificate, is_tls: bool
) -> None:
    served = await serve(**BUDGET, tls=certificate.files if is_tls else None)
    client = await slow_client(served, certificate if is_tls else None)
    sent = await fill_up(served)
    outlet = served.last.outlet
    assert outlet is not None
    assert outlet.is_over_budget is True
    assert served.last.drained_count == 0
    client.writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above
    for _ in range(sent):
        assert (await client.frame()).payload == PAYLOAD
    await until(lambda: served.last.drained_count == 1 and not outlet.is_over_budget)
    assert outlet.send(b"caught up")
    assert (await client.frame()).payload == b"caught up"
    await client.__aexit__()


async def test_budget_passed_within_one_turn_is_drained_without_the_transports_help(serve: Serve) -> None:
    served = await serve(**BUDGET)
    async with await RawClient.upgraded(served.port) as client:
        sent = fill(served)
        assert sent > 10
        for _ in range(sent):
            assert (await client.frame()).payload == PAYLOAD
        await until(lambda: served.last.drained_count == 1)


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
async def test_device_that_never_reads_is_closed_with_4408_at_the_hard_limit(
    serve: Serve, certificate: Certificate, is_tls: bool
) -> None:
    served = await serve(**BUDGET, tls=certificate.files if is_tls else None, close_timeout_ms=50)
    client = await slow_client(served, certificate if is_tls else None)
    outlet = served.last.outlet
    assert outlet is not None
    most = 0
    while outlet.phase == 0:
        outlet.send(PAYLOAD)
        most = max(most, outlet.queued_bytes)
        await asyncio.sleep(0)
    assert most <= BUDGET["outlet_bytes_hard_max"]
    assert not outlet.send(PAYLOAD)
    await until(lambda: served.last.closed.is_set())
    assert served.last.closes[0][0] == 4408
    await served_alive(served, is_tls=is_tls, certificate=certificate)
    await client.__aexit__()


async def served_alive(served: Served, *, is_tls: bool, certificate: Certificate) -> None:
    async with await RawClient.upgraded(served.port, certificate.trust if is_tls else None) as probe:
        assert await probe.echo("probe") == "probe"


def unsent_bytes(protocol: SocketProtocol) -> int:
    """What the kernel holds for the peer that it has not taken (SIOCOUTQ)."""
    found = fcntl.ioctl(protocol._outlet._transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(found, sys.byteorder)


@pytest.mark.parametrize(("unsent_bytes_max", "is_bounded"), [(64 * 1024, True), (1 << 30, False)])
async def test_kernel_holds_little_for_a_device_that_reads_nothing(
    serve: Serve, unsent_bytes_max: int, is_bounded: bool
) -> None:
    served = await serve(**BUDGET, unsent_bytes_max=unsent_bytes_max)
    client = await slow_client(served)
    await fill_up(served)
    assert (unsent_bytes(only_socket(served)) <= 128 * 1024) is is_bounded
    await client.__aexit__()


async def test_answer_that_is_not_read_is_given_up_with_its_place(serve: Serve) -> None:
    served = await serve(ping_interval_ms=20, idle_timeout_ms=200)
    async with await RawClient.open(served.port) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # as above
        client.send(b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: served.server.door.refusals["too_slow"] == 1)
        await until(lambda: not served.server.door.connections)


async def test_answer_of_which_something_is_taken_is_not_given_up(serve: Serve) -> None:
    served = await serve(ping_interval_ms=60_000, idle_timeout_ms=120_000)
    async with await RawClient.open(served.port) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # as above
        client.send(b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: served.server.door.connections)
        (connection,) = served.server.door.connections
        transport = connection.transport  # type: ignore[attr-defined]  # the HTTP protocol's
        await until(transport.get_write_buffer_size)
        connection.beat(FAR_MS)
        unsent_bytes = transport.get_write_buffer_size()
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above
        await client.reader.readexactly(1_000_000)
        await until(lambda: transport.get_write_buffer_size() < unsent_bytes)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # as above
        connection.beat(FAR_MS + 120_000)
        assert not served.server.door.refusals


async def test_pings_of_a_device_that_does_not_read_queue_one_pong(serve: Serve) -> None:
    served = await serve(**BUDGET, control_frames_per_second_max=1_000)
    client = await slow_client(served)
    sent = await fill_up(served)
    outlet = served.last.outlet
    assert outlet is not None
    before = outlet.queued_bytes
    client.send(b"".join(frame(PING, b"%d" % number) for number in range(500)) + frame(TEXT, b"mark"))
    await until(lambda: served.last.texts == [b"mark"])
    assert outlet.queued_bytes <= before + len(frame(TEXT, b"mark"))
    client.writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above
    pongs = []
    for _ in range(sent + 2):
        got = await client.frame()
        if got.opcode == PONG:
            pongs.append(got.payload)
    assert pongs == [b"499"]
    await client.__aexit__()


async def test_messages_of_one_turn_leave_as_one_write(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = await serve()
    writes: list[bytes] = []
    true_write = os.write

    def write(descriptor: int, data: bytes) -> int:
        writes.append(bytes(data))
        return true_write(descriptor, data)

    async with await RawClient.upgraded(served.port) as client:
        assert await client.echo("ready") == "ready"
        outlet = served.last.outlet
        assert outlet is not None
        with monkeypatch.context() as patch:
            patch.setattr("syncbridge.net.outlet.os.write", write)
            for text in (b"one", b"two", b"three"):
                outlet.send(text)
            for text in (b"one", b"two", b"three"):
                assert (await client.frame()).payload == text
    mine = [data for data in writes if b"one" in data or b"two" in data or b"three" in data]
    assert mine == [b"\x81\x03one\x81\x03two\x81\x05three"]


async def test_flood_of_small_frames_does_not_grow_the_read_buffer(serve: Serve) -> None:
    served = await serve()
    async with await RawClient.upgraded(served.port) as client:
        assert await client.echo("ready") == "ready"
        served.last.is_echo = False
        client.send(frame(TEXT, b"0123456789") * 100_000)
        await until(lambda: len(served.last.texts) == 100_001)
        assert len(SocketProtocol.__bases__[0].get_buffer(only_socket(served), -1)) < 64 * 1024


async def test_silent_device_is_pinged_and_kept_while_it_answers(serve: Serve) -> None:
    served = await serve(ping_interval_ms=60_000, idle_timeout_ms=120_000)
    async with await RawClient.upgraded(served.port) as client:
        assert await client.echo("ready") == "ready"
        connection = only_socket(served)
        connection.beat(FAR_MS)
        for number in range(1, 7):
            connection.beat(FAR_MS + number * 60_000)
            assert await client.frame() == (PING, b"", True)
            heard_count = served.last.heard_count
            client.send(frame(PONG))
            await until(lambda heard_count=heard_count: served.last.heard_count > heard_count)  # type: ignore[misc]
            connection.beat(FAR_MS + number * 60_000)
        assert not served.last.closes


async def test_silent_device_that_answers_no_ping_is_closed_with_4408(serve: Serve) -> None:
    served = await serve(ping_interval_ms=60_000, idle_timeout_ms=120_000, close_timeout_ms=50)
    async with await RawClient.upgraded(served.port) as client:
        assert await client.echo("ready") == "ready"
        for now_ms in (0, 60_000, 119_999, 120_000):
            only_socket(served).beat(FAR_MS + now_ms)
        assert (await client.frame()).opcode == PING
        answer = await client.frame()
        assert (answer.opcode, answer.close_code) == (CLOSE, 4408)
        await until(lambda: served.last.closed.is_set())


async def test_silent_device_is_closed_by_the_server_s_own_looks(serve: Serve) -> None:
    served = await serve(ping_interval_ms=40, idle_timeout_ms=120, close_timeout_ms=50)
    async with await RawClient.upgraded(served.port) as client:
        while (answer := await client.frame()).opcode == PING:
            pass
        assert (answer.opcode, answer.close_code) == (CLOSE, 4408)
        await until(lambda: served.last.closed.is_set())


async def test_device_that_talks_but_reads_nothing_is_closed_with_4408(serve: Serve) -> None:
    served = await serve(**BUDGET, ping_interval_ms=40, idle_timeout_ms=200, close_timeout_ms=50)
    client = await slow_client(served)
    served.last.is_echo = False
    await fill_up(served)
    while not served.last.closes:
        client.send(frame(TEXT, b"still here"))
        await asyncio.sleep(0.01)
    assert served.last.closes[0][0] == 4408
    assert served.last.texts
    await client.__aexit__()
