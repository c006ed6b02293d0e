"""Entity tags of a state: a strong tag of its position, ``"EPOCH.VERSION"``; and the conditions made of them."""

from __future__ import annotations

import re

from fastapi import Request

from syncbridge.core.effects import StateView
from syncbridge.errors import BadMessage, PreconditionFailed

_TAG = re.compile(r'\s*(W/)?"([\x21\x23-\x7e]*)"\s*(?:,|$)')


def etag(view: StateView) -> str:
    """The tag of the state at this position."""
    return f'"{view.epoch}.{view.version}"'


def is_unchanged(request: Request, view: StateView) -> bool:
    """Whether If-None-Match names this state (RFC 9110 section 13.1.2: weak tags count)."""
    return names_tag(request, etag(view))


def names_tag(request: Request, tag: str) -> bool:
    """Whether If-None-Match names this tag."""
    value = _header(request, "if-none-match")
    if value is None:
        return False
    return value == "*" or tag in {f'"{one}"' for _, one in _tags(value)}


def expected_version(request: Request, view: StateView) -> int | None:
    """The version that the write must find, None where any will do. Raises PreconditionFailed, BadMessage.

    If-Match is compared strongly (RFC 9110 section 13.1.1). ``*`` is true of every state that is there.
    """
    if is_unchanged(request, view):
        raise PreconditionFailed("The state is one that If-None-Match excludes.")
    value = _header(request, "if-match")
    if value is None or value == "*":
        return None
    if etag(view) not in {f'"{tag}"' for weakness, tag in _tags(value) if not weakness}:
        raise PreconditionFailed(f"The state is at {etag(view)} now.")
    return view.version


def _header(request: Request, name: str) -> str | None:
    values = request.headers.getlist(name)
    return ", ".join(values).strip() if values else None


def _tags(value: str) -> list[tuple[str, str]]:
    tags = []
    place = 0
    while place < len(value):
        match = _TAG.match(value, place)
        if match is None:
            raise BadMessage('expected entity tags like "EPOCH.VERSION", in quotes and with commas between')
        tags.append((match[1] or "", match[2]))
        place = match.end()
    return tags
