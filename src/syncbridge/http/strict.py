"""Bodies: bounded before they are kept, and JSON read strictly.

Refused, with the place: bad UTF-8, a byte order mark, two values, a member twice, NaN and 1e400, integers that a peer
in JavaScript cannot hold, lone surrogates, NUL (PostgreSQL cannot keep it), nesting past the limit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from syncbridge._ext import check
from syncbridge.core.ids import Json
from syncbridge.errors import BadMessage, DepthExceeded, MessageTooLarge, UnsupportedMediaType, ValidationFailed
from syncbridge.http.context import context_of
from syncbridge.http.idempotency import PARAMETER, answered_once
from syncbridge.limits import INTEGER_SAFE_MAX, Limits

JSON = "application/json"


class StrictRequest(Request):
    """A request whose body was read and judged before the framework asks for it."""

    def keep(self, body: bytes, value: Json) -> None:
        """The framework finds this body, parsed."""
        self._body = body
        self._json = value


class StrictRoute(APIRoute):
    """A route whose JSON body is at most `body_bytes_max` and strictly read."""

    def bytes_max(self, limits: Limits) -> int:
        """The largest body that this route takes."""
        return limits.body_bytes_max

    def needs_body(self, request: Request) -> bool:
        """Whether a body must be there; this route says so of every request."""
        return True

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's handler behind the judging of the body."""
        handler = super().get_route_handler()
        is_once = any(header.name == PARAMETER for header in self.dependant.header_params)

        async def strictly(request: Request) -> Response:
            if self.body_field is None or not self.needs_body(request):
                return await (answered_once(request, b"", partial(handler, request)) if is_once else handler(request))
            limits = context_of(request).settings.limits
            if media_type(request) != JSON:
                raise UnsupportedMediaType(f"expected a body of {JSON}")
            judged = StrictRequest(request.scope, request.receive)
            body = await read_body(judged, self.bytes_max(limits))
            judged.keep(body, parse_json(body, depth_max=limits.message_depth_max))
            return await (answered_once(request, body, partial(handler, judged)) if is_once else handler(judged))

        return strictly


class OptionalBodyRoute(StrictRoute):
    """A route that does without a body; one that comes is judged like any."""

    def needs_body(self, request: Request) -> bool:
        """Whether one comes: its length or its coding says so (RFC 9112 section 6)."""
        return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


class StateRoute(StrictRoute):
    """A route whose body holds a state; indented JSON is longer than what is kept of it."""

    def bytes_max(self, limits: Limits) -> int:
        """Twice a state's largest size."""
        return 2 * limits.state_bytes_max


def media_type(request: Request) -> str:
    """The body's media type without parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request, bytes_max: int) -> bytes:
    """The whole body. Raises MessageTooLarge as soon as it is known to be, so no more than that is ever held."""
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > bytes_max:
        raise MessageTooLarge(f"expected a body of at most {bytes_max} bytes")
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > bytes_max:
            raise MessageTooLarge(f"expected a body of at most {bytes_max} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def parse_json(body: bytes, *, depth_max: int) -> Json:
    """The one JSON value of the body. Raises BadMessage or DepthExceeded naming the place."""
    if not body.strip():
        raise ValidationFailed("expected a JSON body, got an empty one")
    seen = _Doubles()
    try:
        text = body.decode("utf-8")
        if text.startswith("\ufeff"):
            raise BadMessage("$: a byte order mark before the JSON")
        value = json.loads(text, object_pairs_hook=seen.pairs, parse_int=_integer)
    except UnicodeDecodeError as error:
        raise BadMessage(f"byte {error.start}: not UTF-8") from error
    except json.JSONDecodeError as error:
        raise BadMessage(f"line {error.lineno} column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        # The parser itself gives up after about a thousand levels, so 100,000 brackets cost no more than those.
        raise DepthExceeded(f"expected at most {depth_max} levels") from error
    if seen.found is not None:
        raise BadMessage(f"{_find(value, lambda one: one is seen.found) or '$'}: a member stands twice")
    check(value, depth_max=depth_max, place="$")
    if "\\u0000" in text:
        place = _find(value, _has_nul)
        if place:
            raise BadMessage(f"{place}: a string holds NUL")
    return value


class _Doubles:
    """Remembers the first object that has a member twice."""

    def __init__(self) -> None:
        self.found: dict[str, Json] | None = None

    def pairs(self, pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        value = dict(pairs)
        if len(value) != len(pairs) and self.found is None:
            self.found = value
        return value


def _integer(digits: str) -> int:
    # Python refuses texts of more than 4,300 digits with an error that knows no place: `check` names it, also of these.
    return int(digits) if len(digits) <= 17 else INTEGER_SAFE_MAX + 1


def _has_nul(value: Json) -> bool:
    return (isinstance(value, str) and "\0" in value) or (isinstance(value, dict) and any("\0" in key for key in value))


def _find(value: Json, matches: Callable[[Json], bool]) -> str:
    """The place of the first value that matches, "" when none does. The depth was judged before."""
    waiting: list[tuple[str, Json]] = [("$", value)]
    while waiting:
        place, one = waiting.pop()
        if matches(one):
            return place
        if isinstance(one, dict):
            waiting += [(f"{place}.{key[:64]}", item) for key, item in one.items()]
        elif isinstance(one, list):
            waiting += [(f"{place}[{index}]", item) for index, item in enumerate(one)]
    return ""
