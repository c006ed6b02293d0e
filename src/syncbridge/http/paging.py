"""Pages: a bounded piece of a list, a cursor to the next, and a Link header that names it (RFC 8288).

A cursor is opaque, and names the last thing seen by what never changes of it, so that a walk meets each thing once
while others come and go. It opens no door: it is a place within what its holder may see anyway. Its check digits tie
it to the very list and filters that it was made for, so one that was cut, mended or taken elsewhere is refused by
name instead of giving a page that nobody asked for.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Annotated, TypeVar
from urllib.parse import urlencode

from fastapi import Query, Request, Response
from msgspec import DecodeError, ValidationError, json

from syncbridge.errors import ValidationFailed

PAGE_MAX = 100
CURSOR_CHARS_MAX = 400
FORM = "1"
"""Of the cursors; one of another form is refused, and the walk begins anew."""
_CHECK_BYTES = 9

Limit = Annotated[int, Query(ge=1, le=PAGE_MAX, description="How many at most.")]
Cursor = Annotated[
    str | None,
    Query(max_length=CURSOR_CHARS_MAX, description="`next_cursor` of the page before; without it, the first page."),
]
NEXT_CURSOR = "Give it as `cursor` for the next page; null at the end."
LINKED = {"Link": {"description": 'The next page, as `<...>; rel="next"`.', "schema": {"type": "string"}}}
"""For the documented headers of a list."""

_Place = TypeVar("_Place")


class Listing:
    """One list with its filters: writes and reads the cursors of just this list."""

    def __init__(self, request: Request, response: Response) -> None:
        """The list is what the request asks for, cursor and limit apart."""
        self._request = request
        self._response = response
        filters = sorted(
            (name, value) for name, value in request.query_params.multi_items() if name not in ("cursor", "limit")
        )
        self._name = json.encode((FORM, request.url.path, filters))

    def after(self, cursor: str | None, form: type[_Place]) -> _Place | None:
        """The place that the cursor names, None for the first page. Raises ValidationFailed."""
        if cursor is None:
            return None
        try:
            raw = base64.b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            if self._check(raw[_CHECK_BYTES:]) != raw[:_CHECK_BYTES]:
                raise ValidationError
            return json.decode(raw[_CHECK_BYTES:], type=form)
        except (binascii.Error, DecodeError, ValidationError, ValueError) as error:
            raise bad_cursor() from error

    def next(self, place: Sequence[int | str]) -> str:
        """The cursor of the page after `place`; the answer's Link header names that page."""
        raw = json.encode(place)
        cursor = base64.urlsafe_b64encode(self._check(raw) + raw).rstrip(b"=").decode()
        query = [(name, value) for name, value in self._request.query_params.multi_items() if name != "cursor"]
        address = f"{self._request.url.path}?{urlencode([*query, ('cursor', cursor)])}"
        self._response.headers["Link"] = f'<{address}>; rel="next"'
        return cursor

    def _check(self, raw: bytes) -> bytes:
        return hashlib.sha256(self._name + b"\0" + raw).digest()[:_CHECK_BYTES]


def bad_cursor() -> ValidationFailed:
    """The refusal of a cursor that is not of this list."""
    return ValidationFailed("query.cursor: expected the next_cursor of the page before, with the same filters")
