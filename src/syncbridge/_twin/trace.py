"""Where a place goes when somebody else writes: paths as tuples of tokens, followed through writes.

A write adds, removes, replaces or moves one place. Following a path through a write shifts list indexes, moves
along with a moved value, and says how the write touches the path:

    exact    the write is at the path
    above    the write is at an ancestor of it
    below    the write is under it
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from syncbridge._twin.pointer import index_of

Path = tuple[str, ...]
Touch = Literal["exact", "above", "below"]

UNKNOWN: Any = object()  # a value nobody told: no base was given


@dataclass(frozen=True, slots=True)
class Write:
    """One effect on a document; ``in_list`` says that the last token is a list index, so that add inserts."""

    kind: Literal["add", "remove", "replace", "move"]
    path: Path
    in_list: bool = False
    value: Any = UNKNOWN
    source: Path = ()
    source_in_list: bool = False
    meta: dict[str, Any] = field(default_factory=dict)
    is_undo: bool = False  # stands for our own op that was not taken over
    merge: tuple[Any, Any, list[dict[str, Any]]] | None = None  # a list being merged: before, theirs, its rows
    overwrites: bool = False  # of a move: something stood where it arrived

    @property
    def inserts(self) -> bool:
        return self.kind == "add" and self.in_list

    def parts(self) -> list[Write]:
        """A move as its removal and its addition; any other write as itself."""
        if self.kind != "move":
            return [self]
        gone = Write("remove", self.source, self.source_in_list, UNKNOWN, meta=self.meta, is_undo=True)
        return [gone, Write("add", self.path, self.in_list, self.value, meta=self.meta)]


@dataclass(frozen=True, slots=True)
class Hit:
    """A write that touches a path, and where the touched place was at that moment."""

    touch: Touch
    write: Write
    at: Path


def follow(path: Path, inserting: bool, write: Write, goes_first: bool = False) -> tuple[Path | None, Hit | None]:
    """`path` after `write` (not a move); None when the list item it names or lies in was removed.

    `inserting` says that the path is where an item will be inserted; of two inserts at one index, the path's
    comes first when `goes_first`.
    """
    depth = len(write.path)
    if depth == 0:
        return path, Hit("above" if path else "exact", write, path)
    parent = write.path[:-1]
    if path[: depth - 1] != parent:
        below = len(path) < depth and write.path[: len(path)] == path
        return path, Hit("below", write, path) if below else None
    if len(path) < depth:
        return path, Hit("below", write, path)
    ends_here = len(path) == depth
    touch: Touch = "exact" if ends_here else "above"
    if not write.in_list:
        return path, Hit(touch, write, path) if path[depth - 1] == write.path[-1] else None
    mine, theirs = index_of(path[depth - 1]), index_of(write.path[-1])
    if mine < 0 or theirs < 0:  # '-' is the end, wherever that is
        return path, None
    insert_here = inserting and ends_here
    if write.kind == "add":
        stays = mine < theirs or (mine == theirs and insert_here and goes_first)
        return path if stays else _shifted(path, depth, mine + 1), None
    if mine == theirs and not insert_here:
        return None if write.kind == "remove" else path, Hit(touch, write, path)
    if write.kind == "remove" and mine > theirs:
        return _shifted(path, depth, mine - 1), None
    return path, None


def _shifted(path: Path, depth: int, index: int) -> Path:
    return (*path[: depth - 1], str(index), *path[depth:])


def trace(path: Path, inserting: bool, writes: list[Write]) -> tuple[Path | None, Path, list[Hit]]:
    """`path` after all `writes` (None when it is gone), the last place it had, and what touched it."""
    hits: list[Hit] = []
    for write in writes:
        moved = _moved_along(path, inserting, write)
        if moved is not None:
            path = moved
            continue
        for part in write.parts():
            after, hit = follow(path, inserting, part)
            if hit is not None:
                hits.append(hit)
            if after is None:
                return None, path, hits
            path = after
    return path, path, hits


def _moved_along(path: Path, inserting: bool, write: Write) -> Path | None:
    depth = len(write.source)
    if write.kind != "move" or path[:depth] != write.source or (inserting and len(path) == depth):
        return None
    return write.path + path[depth:]


def carry(writes: list[Write], own: Write) -> list[Write]:
    """`writes` as they look to somebody who has done `own` first; what `own` overwrites is left out."""
    after: list[Write] = []
    mine: Write | None = own
    for write in writes:
        if mine is None:
            after.append(write)
            continue
        if write.kind != "move":
            path, hit = follow(write.path, write.inserts, mine, goes_first=True)
            if path is not None and not _covers(hit):
                after.append(replace(write, path=path))
        else:
            after.extend(_carry_move(write, mine))
        mine = _own_after(mine, write)
    return after


def _covers(hit: Hit | None) -> bool:
    return hit is not None and hit.touch != "below"


def _carry_move(write: Write, own: Write) -> list[Write]:
    gone, added = write.parts()
    source, source_hit = follow(write.source, False, own, goes_first=True)
    if source_hit is not None and source_hit.touch == "exact":
        # our op went along with the value: it removed it over there, or wrote over it and it moves as before
        if own.kind == "remove":
            # What had stood where the value arrived is gone all the same.
            return [Write("remove", write.path, meta=write.meta)] if write.overwrites else []
        source_hit = None
    between = _own_after(own, gone)
    path: Path | None = write.path
    path_hit: Hit | None = None
    if between is not None:
        path, path_hit = follow(write.path, write.in_list, between, goes_first=True)
    if _covers(path_hit):
        path = None
    if source is not None and not _covers(source_hit):
        return [replace(write, source=source, path=path) if path is not None else replace(gone, path=source)]
    return [replace(added, path=path)] if path is not None else []


def _own_after(own: Write, write: Write) -> Write | None:
    moved = _moved_along(own.path, own.inserts, write)
    if moved is not None:
        return replace(own, path=moved)
    path: Path | None = own.path
    for part in write.parts():
        if path is None:
            return None
        path, _ = follow(path, own.inserts, part)
    return None if path is None else replace(own, path=path)
