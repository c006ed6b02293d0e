"""Every error answer: problem details (RFC 9457) made from the one tree of errors, by one handler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from syncbridge.errors import (
    BadMessage,
    DependencyFault,
    DeviceLimit,
    Internal,
    MessageTooLarge,
    MethodNotAllowed,
    NotFound,
    PatchError,
    RateLimited,
    SyncBridgeError,
    ValidationFailed,
    by_code,
)

MEDIA_TYPE = "application/problem+json"
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ERRORS_MAX = 20
"""Findings that one answer lists: a body of ten thousand wrong fields does not get ten thousand sentences back."""


class Finding(BaseModel):
    """One wrong field."""

    place: str = Field(examples=["$.title"])
    message: str


class Problem(BaseModel):
    """Why a request was not answered as asked."""

    type: str = Field(examples=["urn:syncbridge:error:not_found"])
    title: str
    status: int
    detail: str
    code: str = Field(description="What a program reads; see the table of errors.", examples=["not_found"])
    retry: str = Field(description="What to do next: never, same, later or resync.")
    request_id: str
    errors: list[Finding] | None = None


class Refused(Exception):
    """An error with headers or members that its class does not hold."""

    def __init__(
        self,
        error: SyncBridgeError,
        *,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.headers = dict(headers or {})
        self.members = dict(members or {})


def documented(*codes: str) -> dict[int | str, dict[str, Any]]:
    """What a route may be refused with besides what any may, for the OpenAPI document: by status, codes named."""
    refusals: dict[int, list[type[SyncBridgeError]]] = {}
    for code in codes:
        error = by_code()[code]
        refusals.setdefault(error.http_status, []).append(error)
    return {
        status: {
            "description": " ".join(f"`{error.code}`: {error.meaning}" for error in kinds),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, kinds in refusals.items()
    }


def answer(refused: Refused, request_id: str) -> Response:
    """The response for an error. It repeats nothing that the peer sent but names of fields and pointers."""
    error = refused.error
    body = {
        "type": f"urn:syncbridge:error:{error.code}",
        "title": error.meaning,
        "status": error.http_status,
        "detail": error.message,
        "code": error.code,
        "retry": error.retry,
        "request_id": request_id,
        **error.members,
        **refused.members,
    }
    headers = dict(refused.headers)
    if isinstance(error, PatchError) and error.index is not None:
        body |= {"index": error.index, "pointer": error.pointer}
    if isinstance(error, DeviceLimit):
        body["devices"] = [{"id": one, "name": name, "platform": platform} for one, name, platform in error.devices]
    if error.http_status == 401:
        headers.setdefault("WWW-Authenticate", "Bearer")
    if isinstance(error, DependencyFault | RateLimited):
        headers.setdefault("Retry-After", "1")
    return JSONResponse(body, error.http_status, headers, MEDIA_TYPE)


def request_id(request: Request) -> str:
    """The id of this request, as the envelope chose it."""
    return str(request.state.request_id)


def handle_problems(app: FastAPI) -> None:
    """Every expected error of the app is answered by `answer`; what is not expected is left to the envelope."""

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        return answer(error, request_id(request))

    async def known(request: Request, error: Exception) -> Response:
        assert isinstance(error, SyncBridgeError)
        return answer(Refused(error), request_id(request))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        findings = [
            {"place": _place(finding["loc"]), "message": _message(finding)} for finding in error.errors()[:ERRORS_MAX]
        ]
        detail = "; ".join(f"{finding['place']}: {finding['message']}" for finding in findings[:3])
        return answer(Refused(ValidationFailed(detail), members={"errors": findings}), request_id(request))

    async def framework(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        fault: SyncBridgeError
        if error.status_code == 404:
            fault = NotFound()
        elif error.status_code == 405:
            allow = {"Allow": ", ".join(_allowed(request))}
            if request.method == "OPTIONS":
                return Response(status_code=204, headers=allow)
            return answer(Refused(MethodNotAllowed(), headers=allow), request_id(request))
        elif error.status_code == 413:
            fault = MessageTooLarge()
        elif error.status_code < 500:
            fault = BadMessage()
        else:
            fault = Internal()
        return answer(Refused(fault, headers=error.headers), request_id(request))

    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(SyncBridgeError, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, framework)


def _allowed(request: Request) -> list[str]:
    """What the address takes; a route that refuses names but its own methods."""
    methods = {"OPTIONS"}
    for method in _METHODS:
        asked = {**request.scope, "method": method}
        if any(route.matches(asked)[0] is Match.FULL for route in request.app.routes):
            methods.add(method)
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)


def _message(finding: Mapping[str, Any]) -> str:
    """What is wrong, without the input; of the kinds of findings one would repeat it."""
    if finding["type"] == "union_tag_invalid":
        return f"expected one of {finding['ctx']['expected_tags']}".replace("<", "").replace(">", "")
    return str(finding["msg"])


def _place(location: tuple[int | str, ...]) -> str:
    """``("body", "ops", 3, "path")`` as ``$.ops[3].path``; a parameter as ``query.limit``."""
    where, *parts = location
    place = "$" if where == "body" else str(where)
    for part in parts:
        if isinstance(part, str) and part.startswith("<"):
            continue  # the branch of a union, not a field
        place += f"[{part}]" if isinstance(part, int) else f".{str(part)[:64]}"
    return place
