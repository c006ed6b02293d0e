"""TLS at the door: what is offered, and handshakes that are bounded in time and number."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from syncbridge.net.door import Door, Newcomer
from syncbridge.net.options import TlsFiles

_logger = logging.getLogger("syncbridge.net")


Stamp = tuple[tuple[int, int, int, int] | None, ...]
"""What tells files from what they were: device, inode, size and time of each; None for one that is not there."""


def make_context(files: TlsFiles) -> ssl.SSLContext:
    """A server context for TLS 1.2 and 1.3 with AEAD suites and forward secrecy only (RFC 9325 section 4.2).

    Groups       P-256 alone, which every client has to speak (RFC 8446 section 9.1). Python can name one group or
                 leave all of OpenSSL's: among those are finite fields of up to 8192 bits, and one such handshake
                 kept the loop busy for 160 ms here, for a client that computes nothing. Clients that begin with
                 another group are asked once more: a round trip.
    Resumption   no tickets: they would rest on one key for the life of the process, and a full handshake costs but
                 2 ms. TLS 1.2 may resume by id, from a cache that OpenSSL bounds and that goes with the context: so
                 nothing is resumed under a certificate that was replaced.
    Raises       OSError naming the files, when one cannot be read, is no certificate, or not its key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.set_ecdh_curve("prime256v1")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    try:
        # An encrypted key is refused: without a password to try, OpenSSL would ask the terminal for one and wait.
        context.load_cert_chain(files.certfile, files.keyfile, password="")
    except OSError as error:
        # ssl.SSLError is one too; neither says which file it is about.
        key = "" if files.keyfile is None else f" with the key {files.keyfile}"
        reason = f"the TLS certificate {files.certfile}{key} cannot be used: {error.strerror}"
        raise type(error)(error.errno, reason) from error
    return context


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a person asks about a certificate. Times are ms of the Unix epoch, `names` are DNS names and addresses."""

    names: tuple[str, ...]
    not_before_ms: int
    not_after_ms: int
    serial_number: int

    def is_in_force(self, now_ms: int) -> bool:
        """Whether a client whose clock is right accepts its dates."""
        return self.not_before_ms <= now_ms <= self.not_after_ms


def read_certificate(files: TlsFiles) -> Certificate:
    """The server's own certificate in `files`: the first of the chain.

    Raises  OSError naming the file, when it cannot be read or holds no certificate.
    """
    try:
        leaf = x509.load_pem_x509_certificates(files.certfile.read_bytes())[0]
    except OSError as error:
        raise type(error)(
            error.errno, f"the TLS certificate {files.certfile} cannot be read: {error.strerror}"
        ) from error
    except ValueError as error:
        raise OSError(errno.EINVAL, f"the TLS certificate {files.certfile} holds no PEM certificate") from error
    return Certificate(
        names=_names_of(leaf),
        not_before_ms=int(leaf.not_valid_before_utc.timestamp() * 1000),
        not_after_ms=int(leaf.not_valid_after_utc.timestamp() * 1000),
        serial_number=leaf.serial_number,
    )


@dataclass(frozen=True, slots=True)
class Identity:
    """What new connections are shown, and the stamp of the files that it was read from."""

    context: ssl.SSLContext
    certificate: Certificate
    stamp: Stamp


def load_identity(files: TlsFiles) -> Identity:
    """The identity that is in `files` now, whole: certificate and key belong together and to no other moment.

    Raises  OSError naming the files, when they are bad, or were replaced meanwhile.
    """
    before = stamp_of(files)
    context = make_context(files)
    certificate = read_certificate(files)
    if stamp_of(files) != before:
        raise OSError(errno.EAGAIN, f"the TLS certificate {files.certfile} was replaced while it was read")
    return Identity(context, certificate, before)


def stamp_of(files: TlsFiles) -> Stamp:
    """The stamp of `files`; links are followed, so one that leads elsewhere now is a change."""
    return tuple(_mark_of(file) for file in (files.certfile, files.keyfile) if file is not None)


def _mark_of(file: Path) -> tuple[int, int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _names_of(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()  # a common name alone is no name to any client of today (RFC 9110 section 4.3.4)
    addresses = (str(address) for address in names.get_values_for_type(x509.IPAddress))
    return (*names.get_values_for_type(x509.DNSName), *addresses)


class _TlsNewcomer:
    """One TLS handshake under way, as the door counts it."""

    __slots__ = ("_task",)

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def turn_away(self) -> None:
        self._task.cancel()


class TlsEntrance:
    """Accepts on a listening socket and leads each connection through its TLS handshake.

    The loop's own `create_server(ssl=...)` tells nobody of a connection before its handshake is done, so half-open
    ones could be neither counted nor turned away.
    """

    def __init__(
        self,
        listening: socket.socket,
        context: ssl.SSLContext,
        door: Door,
        make_protocol: Callable[[Newcomer], asyncio.Protocol],
    ) -> None:
        self._listening = listening
        self.context = context  # for connections to come; replaced as a whole, so that no handshake sees half of one
        self._door = door
        self._make_protocol = make_protocol
        self._handshakes: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    def close(self) -> None:
        """Nobody is accepted any more and unfinished handshakes are dropped; open connections stay."""
        self._accepting.cancel()
        for task in tuple(self._handshakes):
            task.cancel()
        self._accepting.add_done_callback(lambda _: self._listening.close())

    async def wait_closed(self) -> None:
        """The listening socket is closed and no handshake is under way."""
        await asyncio.gather(self._accepting, *self._handshakes, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listening)
            except OSError:
                # No descriptors left, or the peer has gone already. The first passes only with time.
                _logger.warning("a TLS connection could not be accepted", exc_info=True)
                await asyncio.sleep(0.1)
                continue
            task = loop.create_task(self._handshake(connection))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _handshake(self, connection: socket.socket) -> None:
        options = self._door.options
        task = asyncio.current_task()
        assert task is not None
        newcomer = _TlsNewcomer(task)
        self._door.admit(newcomer)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._make_protocol(newcomer),
                connection,
                ssl=self.context,
                ssl_handshake_timeout=options.handshake_timeout_ms / 1000,
                ssl_shutdown_timeout=options.close_timeout_ms / 1000,
            )
        except OSError:
            # A port scan, a plain HTTP request, a refused certificate, a time-out: the peer's business.
            self._door.refusals["tls_handshake"] += 1
            connection.close()
        except asyncio.CancelledError:
            connection.close()
            raise
        finally:
            self._door.settle(newcomer)
