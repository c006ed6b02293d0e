"""What TLS is spoken: 1.2 and 1.3, AEAD suites, one group, nothing to compress, renegotiate or resume."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import pytest

from syncbridge.net import tls
from syncbridge.net.options import TlsFiles
from tests.tls.hello import ALERT, FFDHE8192, FFDHE8192_SHARE, HANDSHAKE, client_hello
from tests.tls.scanner import COMMANDS, faults, groups, scan, suites
from tests.wire.conftest import Certificate, Serve
from tests.wire.rawclient import RawClient

ALLOW_CLIENT_RENEGOTIATION = 1 << 8  # OpenSSL 3's, which Python has no name for


async def test_scanner_finds_no_fault(serve: Serve, certificate: Certificate) -> None:
    served = await serve(tls=certificate.files)
    found = await scan(served.port, *COMMANDS)
    assert faults(found) == []
    assert len(suites(found, "tls_1_2")) == len(suites(found, "tls_1_3")) == 3
    assert groups(found) == ["secp256r1"]


def plant_old_suites(context: ssl.SSLContext) -> None:
    context.set_ciphers("ECDHE+AESGCM:ECDHE+AES")


def plant_tickets(context: ssl.SSLContext) -> None:
    context.options &= ~ssl.OP_NO_TICKET


def plant_renegotiation(context: ssl.SSLContext) -> None:
    context.options &= ~ssl.OP_NO_RENEGOTIATION
    context.options |= ALLOW_CLIENT_RENEGOTIATION


@pytest.mark.parametrize(
    ("plant", "command", "fault"),
    [
        (plant_old_suites, "tlsv1_2", "CBC_SHA"),
        (plant_tickets, "resum", "tls_ticket_resumption_result"),
        (plant_renegotiation, "reneg", "is_vulnerable_to_client_renegotiation_dos"),
    ],
    ids=["old suites", "tickets", "renegotiation"],
)
async def test_planted_fault_is_found(
    serve: Serve,
    certificate: Certificate,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[ssl.SSLContext], None],
    command: str,
    fault: str,
) -> None:
    original = tls.make_context

    def make_context(files: TlsFiles) -> ssl.SSLContext:
        context = original(files)
        plant(context)
        return context

    monkeypatch.setattr(tls, "make_context", make_context)
    served = await serve(tls=certificate.files)
    assert any(fault in told for told in faults(await scan(served.port, command)))


async def answer_to_costly_group(port: int) -> int | None:
    """The kind of the record that answers a client which offers a finite field of 8192 bits and nothing else.

    None when the connection ends: the loop says no alert for a handshake that failed.
    """
    async with await RawClient.open(port) as client:
        client.send(client_hello(FFDHE8192, FFDHE8192_SHARE))
        return next(iter(await client.reader.read(1)), None)


async def test_client_cannot_ask_for_a_group_that_costs_the_server_alone(
    serve: Serve, certificate: Certificate
) -> None:
    served = await serve(tls=certificate.files)
    assert await answer_to_costly_group(served.port) in (ALERT, None)
    async with await RawClient.upgraded(served.port, certificate.trust) as probe:
        assert await probe.echo("a") == "a"


async def test_costly_group_would_be_answered_without_the_rule(
    serve: Serve, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssl.SSLContext, "set_ecdh_curve", lambda self, name: None)  # so OpenSSL offers all it has
    served = await serve(tls=certificate.files)
    assert await answer_to_costly_group(served.port) == HANDSHAKE
