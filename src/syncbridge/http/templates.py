"""The template of a path, as the routes have it: `/v1/sessions/{session}` for `/v1/sessions/ses_1`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute

_PARAMETER: Final = re.compile(r"(\{[^}]*\})")


class Templates:
    """Finds the template that a path fits, in one search however many routes there are."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        paths = {context.path for context in iter_route_contexts(routes) if context.path}
        # What names more of the path goes first: `/v1/me` is no `/v1/{anything}`.
        self._templates = sorted(paths, key=lambda path: (path.count("{"), path))
        self._one_of = re.compile("|".join(f"({_pattern(path)})" for path in self._templates) or "(?!)")

    def of(self, path: str) -> str | None:
        """The template, None where no route has such a path."""
        found = self._one_of.fullmatch(path)
        return None if found is None or found.lastindex is None else self._templates[found.lastindex - 1]


def _pattern(template: str) -> str:
    return "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in _PARAMETER.split(template))
