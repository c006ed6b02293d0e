"""One small document from one address, in a bounded time and size, and from nowhere else.

No redirect is followed and no proxy of the environment asked: what answers is what the operator named. The library's
own client of key sets (`jwt.PyJWKClient`) follows redirects, reads without bound and blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import ssl
from concurrent.futures import Executor
from typing import Final
from urllib.parse import urlsplit

BYTES_MAX: Final = 256 * 1024
_CHUNK: Final = 16 * 1024
_HEADERS: Final = {
    "Accept": "application/jwk-set+json, application/json",
    "Accept-Encoding": "identity",
    "Connection": "close",
    "User-Agent": "syncbridge",
}


class FetchFailed(Exception):
    """Nothing usable was fetched; ``outcome`` is one word for the metric, the text is for the log."""

    def __init__(self, outcome: str, text: str) -> None:
        self.outcome = outcome
        super().__init__(text)


async def fetch(url: str, executor: Executor, *, timeout_ms: int) -> bytes:
    """The body at this address. Raises FetchFailed.

    Blocking   nothing in the loop; a thread of the executor for at most ``timeout_ms``, but for the name's look-up,
               which the system bounds.
    """
    request = _Request(url, timeout_ms / 1000)
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            return await asyncio.get_running_loop().run_in_executor(executor, request.run)
    except TimeoutError as error:
        raise FetchFailed("timeout", f"no whole answer within {timeout_ms} ms") from error
    finally:
        # A peer that sends a byte now and then would hold the thread for as long as it likes, at the end of the process
        # too, which waits for it.
        request.abort()


class _Request:
    def __init__(self, url: str, timeout_s: float) -> None:
        address = urlsplit(url)
        host = address.hostname or ""
        self._path = f"{address.path or '/'}{f'?{address.query}' if address.query else ''}"
        self._connection = (
            http.client.HTTPSConnection(host, address.port, timeout=timeout_s, context=ssl.create_default_context())
            if address.scheme == "https"
            else http.client.HTTPConnection(host, address.port, timeout=timeout_s)
        )
        self._is_over = False

    def run(self) -> bytes:
        try:
            return self._read()
        except http.client.HTTPException as error:
            # Its text may be what the peer said, and that is for nobody's log.
            raise FetchFailed("unreachable", f"what answers speaks no HTTP: {type(error).__name__}") from error
        except (OSError, UnicodeError) as error:  # a name that is none is told by the codec of names
            raise FetchFailed("unreachable", f"{type(error).__name__}: {error}") from error
        finally:
            self._connection.close()

    def abort(self) -> None:
        """The thread that waits for bytes gets an error instead, the one that has no socket yet when it gets one."""
        self._is_over = True
        held = self._connection.sock
        if held is not None:
            with contextlib.suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)

    def _read(self) -> bytes:
        self._connection.connect()
        if self._is_over:
            raise TimeoutError("the time was over before there was a connection")
        self._connection.request("GET", self._path, headers=_HEADERS)
        response = self._connection.getresponse()
        if response.status != 200:
            raise FetchFailed("status", f"status {response.status} instead of 200; redirects are not followed")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise FetchFailed("malformed", "the answer is compressed, which was not asked for")
        body = bytearray()
        while chunk := response.read(_CHUNK):
            body += chunk
            if len(body) > BYTES_MAX:
                raise FetchFailed("too_large", f"more than {BYTES_MAX} bytes")
        return bytes(body)
