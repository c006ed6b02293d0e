"""The command line as a client of a running service, by the standard library alone."""

from __future__ import annotations

import http.client
import json
import shutil
import ssl
import urllib.error
import urllib.request
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from syncbridge.cli.failures import Failed, not_trusted

TIMEOUT_S = 30
CHUNK_BYTES = 64 * 1024


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an error like any: the library would send the token along, to whatever host it names."""

    def redirect_request(self, *_words: Any, **_named: Any) -> None:
        """Nothing is asked instead."""


_opener = urllib.request.build_opener(_NoRedirects)


class NoService(Failed):
    """Nothing answers at the address; ``found`` says so, without what to do about it."""

    def __init__(self, url: str, reason: object) -> None:
        self.found = f"No service answers at {url}: {reason}."
        super().__init__(f"{self.found} `syncbridge serve` starts one.")


def call(url: str, method: str, path: str, *, token: str | None = None, body: object = None) -> Any:
    """The JSON that the service answers, None for an empty answer. Raises Failed with its code and sentence."""
    try:
        with _asked(url, method, path, token, body) as response:
            answer = response.read()
    except http.client.HTTPException as error:
        raise _no_service_of_ours(url, error) from error
    try:
        return json.loads(answer) if answer else None
    except ValueError as error:
        raise Failed(f"What is at {url} is not SyncBridge: it answers no JSON.") from error


def download(url: str, path: str, *, token: str, into: BinaryIO) -> None:
    """The whole answer is in the file, however long it is. Raises Failed where it was cut off."""
    try:
        with _asked(url, "GET", path, token, None) as response:
            shutil.copyfileobj(response, into, CHUNK_BYTES)
    except http.client.HTTPException as error:
        raise Failed(f"{url} cut the answer off; try again.") from error


def _asked(url: str, method: str, path: str, token: str | None, body: object) -> http.client.HTTPResponse:
    if urlsplit(url).scheme not in ("http", "https"):
        raise Failed(f"--url: expected an address like http://127.0.0.1:8080, got {url!r}")
    headers = {"Accept": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    data = None
    if body is not None:
        data = json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(url.rstrip("/") + path, data, headers, method=method)  # noqa: S310 - judged above
    try:
        response: http.client.HTTPResponse = _opener.open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        raise Failed(_sentence(error)) from error
    except OSError as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise not_trusted(url, reason) from error
        raise NoService(url, reason) from error
    except http.client.HTTPException as error:
        raise _no_service_of_ours(url, error) from error
    return response


def _no_service_of_ours(url: str, error: http.client.HTTPException) -> Failed:
    """A port that is no number, or something behind it that is no HTTP."""
    return Failed(f"What is at {url} is not SyncBridge: {error}")


def _sentence(error: urllib.error.HTTPError) -> str:
    try:
        problem = json.loads(error.read())
        return f"{problem['code']}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"The service answered {error.code} {error.reason}."
