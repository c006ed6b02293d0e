"""The state of a session as a document: read whole, replaced, or changed by either kind of patch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Header, Request, Response

from syncbridge.core.effects import StateView
from syncbridge.core.ids import Json, SessionId
from syncbridge.errors import PreconditionRequired, UnsupportedMediaType, ValidationFailed
from syncbridge.http.context import AnyClaims, Context, Ctx, Owned, acting_device
from syncbridge.http.etags import etag, expected_version, is_unchanged
from syncbridge.http.problems import Refused
from syncbridge.http.strict import JSON, StateRoute, media_type, parse_json, read_body

router = APIRouter(prefix="/v1/sessions/{session}/state", tags=["state"], route_class=StateRoute)

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
ACCEPT_PATCH = f"{JSON_PATCH}, {MERGE_PATCH}"
_FORMS: dict[str, Literal["patch", "merge"]] = {JSON_PATCH: "patch", MERGE_PATCH: "merge"}

_OBJECT: dict[str, Any] = {"type": "object", "additionalProperties": True}
_OPERATIONS: dict[str, Any] = {
    "type": "array",
    "maxItems": 128,
    "items": {
        "type": "object",
        "required": ["op", "path"],
        "properties": {
            "op": {"enum": ["add", "remove", "replace", "move", "copy", "test"]},
            "path": {"type": "string"},
            "from": {"type": "string"},
            "value": {},
        },
    },
}
_TAGGED: dict[str, Any] = {
    "ETag": {"description": 'The state\'s position, "EPOCH.VERSION".', "schema": {"type": "string"}},
    "SyncBridge-Hash": {"description": "Digest of the state, as `joined.hash`.", "schema": {"type": "string"}},
}
_STATE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The state.", "headers": _TAGGED, "content": {JSON: {"schema": _OBJECT}}}
}
IfMatch = Annotated[str | None, Header(description='The tag the change was made from, or `*`: "EPOCH.VERSION".')]
IfNoneMatch = Annotated[str | None, Header(description="Tags that are held already.")]


def _body(content: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "requestBody": {"required": True, "content": {media: {"schema": schema} for media, schema in content.items()}}
    }


@router.get("", response_class=Response, responses={**_STATE, 304: {"description": "It is what If-None-Match names."}})
async def get_state(
    request: Request, context: Ctx, claims: AnyClaims, session: Owned, if_none_match: IfNoneMatch = None
) -> Response:
    """The state alone, as a document; its place in the log is in the ETag."""
    view = await context.service.read(session)
    if is_unchanged(request, view):
        return Response(status_code=304, headers=_headers(view))
    return _answer(view)


@router.put("", response_class=Response, responses=_STATE, openapi_extra=_body({JSON: _OBJECT}))
async def put_state(
    request: Request, context: Ctx, claims: AnyClaims, session: Owned, if_match: IfMatch = None
) -> Response:
    """The state is this one. Without If-Match it is refused (428), for it would overwrite what nobody has seen."""
    if "if-match" not in request.headers:
        raise PreconditionRequired
    if media_type(request) != JSON:
        raise UnsupportedMediaType(f"expected a body of {JSON}")
    value = await _read(request, context)
    if not isinstance(value, dict):
        raise ValidationFailed("$: expected an object")
    return await _edit(request, context, claims, session, "put", value)


@router.patch(
    "", response_class=Response, responses=_STATE, openapi_extra=_body({JSON_PATCH: _OPERATIONS, MERGE_PATCH: _OBJECT})
)
async def patch_state(
    request: Request, context: Ctx, claims: AnyClaims, session: Owned, if_match: IfMatch = None
) -> Response:
    """The patch is applied whole or not at all: RFC 6902 or RFC 7396, by the media type."""
    form = _FORMS.get(media_type(request))
    if form is None:
        raise Refused(
            UnsupportedMediaType(f"expected a body of {JSON_PATCH} or {MERGE_PATCH}"),
            headers={"Accept-Patch": ACCEPT_PATCH},
        )
    value = await _read(request, context)
    kind, name = (list, "an array of operations") if form == "patch" else (dict, "an object")
    if not isinstance(value, kind):
        raise ValidationFailed(f"$: expected {name}")
    return await _edit(request, context, claims, session, form, value)


async def _edit(
    request: Request,
    context: Context,
    claims: AnyClaims,
    session: SessionId,
    form: Literal["put", "patch", "merge"],
    value: Json,
) -> Response:
    device = await acting_device(context, claims)
    has_conditions = "if-match" in request.headers or "if-none-match" in request.headers
    expected = expected_version(request, await context.service.read(session)) if has_conditions else None
    return _answer(await context.service.edit(session, device=device, form=form, value=value, expected=expected))


async def _read(request: Request, context: Context) -> Json:
    limits = context.settings.limits
    body = await read_body(request, 2 * limits.state_bytes_max)
    return parse_json(body, depth_max=limits.message_depth_max)


def _answer(view: StateView) -> Response:
    return Response(msgspec.json.encode(view.state), headers=_headers(view), media_type=JSON)


def _headers(view: StateView) -> dict[str, str]:
    return {
        "ETag": etag(view),
        "SyncBridge-Hash": view.hash,
        "Accept-Patch": ACCEPT_PATCH,
        # To be kept by whoever asked, and asked about each time.
        "Cache-Control": "private, no-cache",
    }
