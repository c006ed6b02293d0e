from collections.abc import Mapping
from typing import Any

from syncbridge._ext.types import Json, Policies

NAMES: frozenset[str]
DEFAULT: tuple[str, str, int]

def compile_policies(schema: Mapping[str, str | Mapping[str, str]], /) -> Policies: ...
def rule_at(policies: Policies | None, tokens: tuple[str, ...]) -> tuple[str, str, int]: ...
def unite(before: list[Json], ours: list[Json], theirs: list[Json]) -> list[Json]: ...
def merge_items(
    before: list[Json], ours: list[Json], theirs: list[Json], key: str
) -> tuple[list[Json], list[tuple[int, str, Any, Json]]]: ...
