"""One port for REST and sockets, plain and TLS: what shares it, and how it ends."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from pathlib import Path

import pytest
import websockets

from syncbridge.core.messages import SUBPROTOCOL
from syncbridge.net.options import TlsFiles
from syncbridge.net.tls import load_identity
from tests.wire.conftest import Certificate, Serve, until
from tests.wire.rawclient import TEXT, TIMEOUT_S, RawClient, frame, head

GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
async def test_foreign_library_speaks_with_us(serve: Serve, certificate: Certificate, is_tls: bool) -> None:
    served = await serve(tls=certificate.files if is_tls else None)
    async with websockets.connect(
        f"{'wss' if is_tls else 'ws'}://127.0.0.1:{served.port}/v1/ws",
        ssl=certificate.trust if is_tls else None,
        subprotocols=[websockets.Subprotocol(SUBPROTOCOL)],
        user_agent_header="probe/1",
    ) as client:
        assert client.subprotocol == SUBPROTOCOL
        for text in ("hello", "é" * 20_000, ""):
            await client.send(text)
            assert await client.recv() == text
        await client.send(["in ", "three ", "fragments"])
        assert await client.recv() == "in three fragments"
        await (await client.ping(b"now"))
        outlet = served.last.outlet
        assert outlet is not None
        assert (outlet.is_tls, outlet.client_address, outlet.user_agent, outlet.subprotocol) == (
            is_tls,
            "127.0.0.1",
            "probe/1",
            SUBPROTOCOL,
        )
    await until(lambda: served.last.closed.is_set())
    assert served.last.closes[0][0] == 1000


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
async def test_rest_and_socket_share_a_connection(serve: Serve, certificate: Certificate, is_tls: bool) -> None:
    served = await serve(tls=certificate.files if is_tls else None)
    async with await RawClient.open(served.port, certificate.trust if is_tls else None) as client:
        client.send(GET % b"/a")
        response = await client.response()
        assert (response.status, response.body) == (200, b'{"path": "/a", "size": 0}')
        assert "date" in response.headers
        assert "server" not in response.headers
        client.send(b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000)
        assert (await client.response()).body == b'{"path": "/b", "size": 200000}'
        client.send(head())
        assert (await client.response()).status == 101
        assert await client.echo("a") == "a"
        outlet = served.last.outlet
        assert outlet is not None
        # uvicorn's keep-alive timer is 5 s; that it is off is held by the contract test.
        assert outlet.phase == 0


async def test_pipelined_requests_are_answered_in_order(serve: Serve) -> None:
    served = await serve()
    async with await RawClient.open(served.port) as client:
        client.send(GET % b"/1" + GET % b"/2" + GET % b"/3")
        assert [(await client.response()).body[10:12] for _ in range(3)] == [b"/1", b"/2", b"/3"]


@pytest.mark.parametrize("path", [b"/slow", b"/late"])
@pytest.mark.parametrize("second", [head(), b"no http at all\r\n\r\n"], ids=["upgrade", "malformed"])
async def test_nothing_lands_inside_an_answer_that_is_not_complete(serve: Serve, path: bytes, second: bytes) -> None:
    served = await serve()
    async with await RawClient.open(served.port) as client:
        client.send(GET % path + second)
        await until(lambda: served.server.door.refusals)
        served.release.set()
        response = await client.response()
        assert response.status == 200
        assert response.body == b'{"path": "%b", "size": 0}' % path
        assert await client.rest() == b""
    assert not served.recorders
    await served.assert_alive()


async def test_body_that_breaks_the_protocol_gets_400(serve: Serve) -> None:
    served = await serve()
    async with await RawClient.open(served.port) as client:
        client.send(b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        assert (await client.response()).status == 400
        assert await client.rest() == b""
    await served.assert_alive()


async def test_other_upgrades_are_answered_as_plain_requests(serve: Serve) -> None:
    served = await serve()
    async with await RawClient.open(served.port) as client:
        client.send(b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        assert (await client.response()).status == 200


async def test_plain_and_tls_ports_serve_the_same_handlers(serve: Serve, certificate: Certificate) -> None:
    served = await serve(tls=certificate.files, tls_port=0)
    tls_port = served.server.tls_port
    assert tls_port is not None
    assert tls_port != served.port
    async with (
        await RawClient.upgraded(served.port) as plain,
        await RawClient.upgraded(tls_port, certificate.trust) as secure,
    ):
        assert await plain.echo("a") == "a"
        assert await secure.echo("b") == "b"
        assert [recorder.upgrade.is_tls for recorder in served.recorders] == [False, True]


# -- TLS ---------------------------------------------------------------------------------------------------------


async def test_half_open_tls_is_cut_after_the_handshake_timeout(serve: Serve, certificate: Certificate) -> None:
    served = await serve(tls=certificate.files, handshake_timeout_ms=60)
    async with await RawClient.open(served.port) as silent, await RawClient.open(served.port) as half:
        half.send(b"\x16\x03\x01\x02\x00")
        assert await silent.rest() == b""
        assert await half.rest() == b""
    await until(lambda: served.server.door.refusals["tls_handshake"] == 2)


async def test_half_open_tls_is_capped_in_number(serve: Serve, certificate: Certificate) -> None:
    served = await serve(tls=certificate.files, handshakes_max=3)
    silent = [await RawClient.open(served.port) for _ in range(3)]
    await until(lambda: served.server.door.newcomers_count == 3)
    async with await RawClient.upgraded(served.port, certificate.trust) as probe:
        assert await probe.echo("a") == "a"
    assert await silent[0].rest() == b""
    assert served.server.door.refusals["handshakes_max"] == 1
    for client in silent:
        await client.__aexit__()


async def test_plain_http_on_the_tls_port_harms_nobody(serve: Serve, certificate: Certificate) -> None:
    served = await serve(tls=certificate.files)
    async with await RawClient.open(served.port) as client:
        client.send(head())
        assert b"HTTP" not in await client.rest()
    async with await RawClient.upgraded(served.port, certificate.trust) as probe:
        assert await probe.echo("a") == "a"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_offers_authenticated_ciphers_only(
    serve: Serve, certificate: Certificate, version: ssl.TLSVersion
) -> None:
    served = await serve(tls=certificate.files)
    certificate.trust.minimum_version = certificate.trust.maximum_version = version
    async with await RawClient.open(served.port, certificate.trust) as client:
        cipher = client.writer.get_extra_info("cipher")[0]
        assert "GCM" in cipher or "POLY1305" in cipher
    if version is ssl.TLSVersion.TLSv1_2:
        certificate.trust.set_ciphers("AES128-SHA:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await RawClient.open(served.port, certificate.trust)


async def test_new_certificate_is_served_to_new_connections_and_drops_nobody(
    serve: Serve, certificate: Certificate
) -> None:
    served = await serve(tls=certificate.files)

    def serial(client: RawClient) -> object:
        return client.writer.get_extra_info("peercert")["serialNumber"]

    async with await RawClient.upgraded(served.port, certificate.trust) as before:
        first = serial(before)
        certificate.renew()
        served.server.show(load_identity(certificate.files))
        async with await RawClient.upgraded(served.port, certificate.trust) as after:
            assert serial(after) != first
            assert await after.echo("a") == "a"
        assert await before.echo("b") == "b"


async def test_bad_certificate_is_refused_and_the_old_one_stays(serve: Serve, certificate: Certificate) -> None:
    served = await serve(tls=certificate.files)
    certificate.files.certfile.write_text("no certificate")
    with pytest.raises(ssl.SSLError, match=re.escape(f"{certificate.files.certfile} with the key")):
        load_identity(certificate.files)
    async with await RawClient.upgraded(served.port, certificate.trust) as client:
        assert await client.echo("a") == "a"


# -- the end -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
async def test_drain_finishes_answers_and_closes_sockets_with_1012(
    serve: Serve, certificate: Certificate, is_tls: bool
) -> None:
    served = await serve(tls=certificate.files if is_tls else None)
    trust = certificate.trust if is_tls else None
    async with (
        await RawClient.open(served.port, trust) as rest,
        await RawClient.open(served.port, trust) as idle,
        await RawClient.upgraded(served.port, trust) as client,
    ):
        rest.send(GET % b"/slow")
        await until(lambda: served.server.door.newcomers_count == 1)  # only the idle one
        draining = asyncio.ensure_future(served.server.drain())
        answer = await client.frame()
        assert answer.close_code == 1012
        client.send(frame(8, answer.payload))
        assert await client.rest() == b""
        assert await idle.rest() == b""
        with pytest.raises(OSError):
            await RawClient.open(served.port, trust)
        assert not draining.done()
        served.release.set()
        assert (await rest.response()).status == 200
        await draining
    assert not served.server.door.connections


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
async def test_drain_ends_though_nobody_answers(serve: Serve, certificate: Certificate, is_tls: bool) -> None:
    served = await serve(tls=certificate.files if is_tls else None, close_timeout_ms=60_000, request_timeout_ms=60_000)
    trust = certificate.trust if is_tls else None
    async with (
        await RawClient.open(served.port, trust) as rest,
        await RawClient.upgraded(served.port, trust),
        await RawClient.open(served.port),
    ):
        rest.send(GET % b"/slow")
        await until(lambda: len(served.server.door.connections) >= 2)
        async with asyncio.timeout(TIMEOUT_S):  # half of what those who do not answer would take
            await served.server.drain(grace_ms=100)
        assert await rest.rest() == b""
    assert not served.server.door.connections
    assert served.last.closes[0][0] == 1012


async def test_upgrade_while_draining_is_told_that_the_node_restarts(serve: Serve) -> None:
    served = await serve()
    async with await RawClient.open(served.port) as client:
        client.send(GET % b"/a")
        assert (await client.response()).status == 200
        served.server.stop_accepting()
        client.send(head())
        response = await client.response()
        assert (response.status, response.headers["retry-after"]) == (503, "1")


async def test_port_in_use_is_an_error_and_leaves_nothing_open(serve: Serve) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1 port {port}: Address already in use"):
            await serve(port=port)


async def test_missing_certificate_is_an_error(serve: Serve, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.pem cannot be used"):
        await serve(tls=TlsFiles(tmp_path / "absent.pem"))


async def test_thousand_connections_leave_nothing_behind(serve: Serve) -> None:
    served = await serve()
    for _ in range(10):
        clients = await asyncio.gather(*(RawClient.upgraded(served.port) for _ in range(100)))
        for client in clients:
            client.send(frame(TEXT, b"a"))
        await asyncio.gather(*(client.frame() for client in clients))
        await asyncio.gather(*(client.__aexit__() for client in clients))
    await until(lambda: not served.server.door.connections)
    assert served.server.door.newcomers_count == 0
    assert all(len(recorder.closes) == 1 for recorder in served.recorders)
    assert served.server.door.opened_total == 1_000
