from collections.abc import Sequence
from typing import NamedTuple

from syncbridge._ext.types import Committed, Conflict, Json, Op, Policies

class Rebased(NamedTuple):
    ops: list[Op]
    conflicts: list[Conflict]

class Merged(NamedTuple):
    state: Json
    ops: list[Op]
    conflicts: list[Conflict]

def rebase(
    ops: list[Op],
    committed: Sequence[list[Op] | Committed],
    policies: Policies | None = ...,
    /,
    *,
    base: Json = ...,
    at: int | None = ...,
    is_owner: bool = ...,
) -> Rebased: ...
def merge3(
    base: Json,
    ours: Json,
    theirs: Json,
    policies: Policies | None = ...,
    /,
    *,
    at: int | None = ...,
    is_owner: bool = ...,
) -> Merged: ...
