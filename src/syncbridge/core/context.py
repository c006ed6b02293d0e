"""What a push was made on, and how it comes from there to the head.

A push's ops were made in a *context*: the state at its ``base`` with the device's own unanswered pushes on top. The
device showed those as it had made them, carried over what it had heard by then; and it has to hear of everything up to
the head, its own pushes among it, before its screen shows what becomes of this one. Both is the same way, which the
device goes as well: over others' entries the queue is carried by `rebase_each`; an own entry takes its push off the
front of the queue, and where it became something else than was shown, the rest goes over the difference.

``Work`` remembers how a device made each push, and those of the queue in front of it that looked otherwise by then. So
the way begins at the base of the device's last push: it is as long as the device is behind, however long it has been
writing. What this process has not seen made, it tells from what the log says became of it: good enough for a name, and
not for a place in a list where others wrote, for what came to nothing left no trace there.
"""

from __future__ import annotations

from itertools import takewhile
from typing import Any, Final, NamedTuple, cast

from syncbridge import errors
from syncbridge._ext import Committed, Rebased, apply_patch, diff, join_pointer, rebase, resolve, split_pointer
from syncbridge.core.carrying import rebase_each
from syncbridge.core.entry import Conflict, Entry
from syncbridge.core.ids import JsonObject, Op
from syncbridge.core.log import SessionLog, Work

STEPS_MAX: Final = 4_000
"""As many ops are carried for one push, each over each run of others' entries: some 8 ms, in which nobody is served.
Forty unanswered pushes, each with somebody else's behind it, stay below; what was made beyond is told from the log.
"""


class Own(NamedTuple):
    """A push of the queue: the entry that it is, and its ops as the device shows them.

    ``is_guess``: this process did not see it made, and tells it from the log.
    """

    version: int
    ops: list[Op]
    is_guess: bool = False


def sees_head(log: SessionLog, device: str, base: int) -> bool:
    """Whether a device that has heard of everything up to ``base`` has the head on its screen, told at no cost.

    It writes on while it waits for its answers, and nobody else wrote: the common case.
    """
    works = log.works.get(device)
    if not works:
        return False
    return works[-1].version == log.version and works[-1].run >= log.version - base


def queue_at(log: SessionLog, device: str, base: int, policies: dict[str, Any], *, is_owner: bool) -> list[Own]:
    """The device's pushes that it had no answer to when it had heard of ``base``, as it showed them then."""
    own = _pushes_after(log, device, base)
    if not own:
        return []
    works = log.works.get(device)
    if _steps(log, device, min(base, works[-1].base) if works else base) > STEPS_MAX:
        return _possible(log.state_at(base), [Own(entry.version, entry.ops, is_guess=True) for entry in own])
    if not works or works[-1].version != own[-1].version or not log.floor <= works[-1].base <= base:
        return _looked_back(log, device, base, policies)
    last = works[-1]
    if last.carried is None:
        return _looked_back(log, device, base, policies)
    shown = {**_as_made(log, device, last.base), **last.carried}
    queue: list[Own] = []
    for entry in _pushes_after(log, device, last.base):
        if entry.version not in shown:
            return _looked_back(log, device, base, policies)
        queue.append(Own(entry.version, shown[entry.version], entry.version in last.guessed))
    way = _Way(log, last.base, queue, policies, is_owner=is_owner)
    try:
        way.go(base)
    except errors.PatchError:
        return _looked_back(log, device, base, policies)
    return way.queue


def work_of(log: SessionLog, device: str, version: int, base: int, ops: list[Op], queue: list[Own]) -> Work:
    """What is remembered of a push that is entry ``version``, and was made on top of ``queue`` at ``base``."""
    work = Work(version, base, ops)
    works = log.works.get(device)
    if queue and works and works[-1].base == base and works[-1].version == queue[-1].version:
        work.carried, work.guessed = works[-1].carried, works[-1].guessed  # and the last itself, as it was made
    elif queue:
        _count_on(log, device, work, queue)
    return work


def _count_on(log: SessionLog, device: str, work: Work, queue: list[Own]) -> None:
    as_made = _as_made(log, device, work.base)
    work.carried = {own.version: own.ops for own in queue if own.is_guess or as_made.get(own.version) is not own.ops}
    work.guessed = frozenset(own.version for own in queue if own.is_guess)


def _as_made(log: SessionLog, device: str, base: int) -> dict[int, list[Op]]:
    """The device's pushes after ``base`` that were seen being made."""
    works = takewhile(lambda work: work.version > base, reversed(log.works.get(device, ())))
    return {work.version: work.ops for work in works}


def trim(log: SessionLog, policies: dict[str, Any]) -> None:
    """The log has forgotten what is past its bounds; what devices made on a base there is carried on to the floor."""
    floor = log.next_floor()
    if not floor:
        return
    for device, works in log.works.items():
        if works and works[-1].base < floor < works[-1].version:
            queue = queue_at(log, device, floor, policies, is_owner=device == log.active)
            works[-1].base = floor
            _count_on(log, device, works[-1], queue)
    log.trim()


def counts_on_guess(log: SessionLog, base: int, queue: list[Own], ops: list[Op]) -> bool:
    """Whether the ops point into a list by an index that is not to be told.

    So it is where others wrote in a list in the midst of own pushes that were not seen being made. Of an item that two
    removed, or that was removed under an edit of it, the log keeps nothing of the second.
    """
    last = max((own.version for own in queue if own.is_guess), default=0)
    if not last:
        return False
    shown = _shown(log.state_at(base), queue)
    lists = {place + "/" for op in ops for place in _lists_on_the_way(shown, op)}
    if not lists:
        return False
    mine = {own.version for own in queue}
    written = {
        op["path"] + "/"
        for entry in log.after(base)
        if entry.version < last and entry.version not in mine
        for op in entry.ops
    }
    return any(path.startswith(place) or place.startswith(path) for path in written for place in lists)


def is_head(log: SessionLog, base: int, queue: list[Own]) -> bool:
    """Whether the queue, shown on the state at ``base``, is all that the log holds since, op for op."""
    return len(queue) == log.version - base and all(
        own.ops == entry.ops for own, entry in zip(queue, log.after(base), strict=True)
    )


def over_to_head(
    log: SessionLog,
    device: str,
    base: int,
    queue: list[Own],
    ops: list[Op],
    policies: dict[str, Any],
    *,
    at: int,
    is_owner: bool,
) -> tuple[list[Op], list[Conflict]]:
    """``ops``, made on top of ``queue`` at ``base``, as they apply to the head, and what they met on the way.

    Raises PatchError.
    """
    if not queue or _steps(log, device, base) <= STEPS_MAX:
        way = _Way(log, base, queue, policies, is_owner=is_owner, at=at, ops=ops)
        try:
            way.go(log.version)
            return way.ops, way.rows
        except errors.PatchError:
            if not queue:
                raise
    # Who is to blame, the push or what is believed to stand in front of it, its context's own state tells.
    shown = _shown(log.state_at(base), queue)
    mine = {own.version for own in queue}
    others = [entry for entry in log.after(base) if entry.version not in mine]
    last_at = max((_made_at(entry) for entry in others), default=0)
    between: list[Committed] = [{"ops": diff(shown, log.state), "at": last_at}]
    brought = rebase(ops, between, policies, base=shown, at=at, is_owner=is_owner)
    return brought.ops, [_attributed(dict(row), others) for row in brought.conflicts]


class _Way:
    """The queue of a device, and what it made on top of it, on the way from a version to later ones.

    ``at`` is when ``ops`` were made; without them nothing is judged by time, for the device does not do so either.
    """

    def __init__(
        self,
        log: SessionLog,
        version: int,
        queue: list[Own],
        policies: dict[str, Any],
        *,
        is_owner: bool,
        at: int | None = None,
        ops: list[Op] | None = None,
    ) -> None:
        self.log = log
        self.version = version
        self.queue = queue
        self.policies = policies
        self.is_owner = is_owner
        self.at = at
        self.has_ops = ops is not None
        self.ops = [] if ops is None else ops
        self.rows: list[Conflict] = []
        self._others: list[Entry] = []
        self._state: JsonObject | None = None
        self._behind: list[Entry] = []

    def go(self, version: int) -> None:
        """All has come over the entries up to ``version``. Raises PatchError."""
        run: list[Entry] = []
        first = self.version
        for entry in self.log.after(first)[: version - first]:
            if self.queue and entry.version == self.queue[0].version:
                self._over(run)
                run = []
                self._past(entry)
            elif entry.ops:
                run.append(entry)
            if not self.queue and not self.has_ops:
                break
        self._over(run)
        self.version = version

    def _here(self) -> JsonObject:
        """The log's state where the way has come to; asked for only where something has to be carried on."""
        state = self.log.state_at(self.version) if self._state is None else self._state
        for entry in self._behind:
            state = cast(JsonObject, apply_patch(state, entry.ops))
        self._behind = []
        self._state = state
        return state

    def _over(self, run: list[Entry]) -> None:
        if not run:
            return
        if self.queue or self.has_ops:
            changes: list[list[Op] | Committed] = [self._change(entry) for entry in run]
            self.rows = self._carry(changes, self._here())
        self._others += run
        self._behind += run

    def _past(self, entry: Entry) -> None:
        """The front of the queue is in the log; what is behind it goes over what that is otherwise."""
        own, *self.queue = self.queue
        if own.ops != entry.ops and (self.queue or self.has_ops):
            here = self._here()
            shown, there = _tried(here, own.ops), cast(JsonObject, apply_patch(here, entry.ops))
            difference = diff(shown, there)
            if difference:
                last_at = max((_made_at(one) for one in self._others), default=0)
                told = len(self.rows)
                rows = self._carry([{"ops": difference, "at": last_at}], shown)
                others = self._others or [entry]
                self.rows = [*rows[:told], *(_attributed(row, others) for row in rows[told:])]
        self._behind.append(entry)

    def _carry(self, changes: list[list[Op] | Committed], base: JsonObject) -> list[Conflict]:
        """The queue and the ops have come over ``changes``; the rows told so far, where they are now, and the new."""
        patches = [own.ops for own in self.queue]
        if self.has_ops:
            patches.append(self.ops)
        if self.rows:
            patches.append([{"op": "test", "path": row["path"], "value": None} for row in self.rows])
        each = rebase_each(patches, changes, self.policies, base=base, at=self.at, is_owner=self.is_owner)
        rows = self.rows
        if rows:
            rows = [{**row, "path": op["path"]} for row, op in zip(rows, each.pop().ops, strict=True)]
        if self.has_ops:
            self.ops, new = each.pop()
            rows = _joined(rows, [dict(row) for row in new])
        self.queue = [own._replace(ops=done.ops) for own, done in zip(self.queue, each, strict=True)]
        return rows

    def _change(self, entry: Entry) -> Committed:
        change: Committed = {"ops": entry.ops, "version": entry.version, "device": entry.device}
        if self.at is not None:
            change["at"] = _made_at(entry)
        return change


def _made_at(entry: Entry) -> int:
    return entry.made_at or entry.at


def _joined(rows: list[Conflict], new: list[Conflict]) -> list[Conflict]:
    """One row a place: who met two others there, one after the other, met the last; "ours" is what was sent."""
    if not rows or not new:
        return rows or new
    sent = {row["path"]: row for row in rows}
    joined = [row for row in rows if all(row["path"] != one["path"] for one in new)]
    for row in new:
        first = sent.get(row["path"])
        if first is not None:
            row = {name: value for name, value in row.items() if name != "ours"}
            if "ours" in first:
                row["ours"] = first["ours"]
        joined.append(row)
    return joined


def _attributed(row: Conflict, others: list[Entry]) -> Conflict:
    """The row with who wrote the other side: the last entry that touched the path or something around it."""
    path = str(row.get("path", ""))
    for entry in reversed(others):
        for op in entry.ops:
            other = op["path"]
            if path == other or path.startswith(other + "/") or other.startswith(path + "/"):
                return {**row, "theirs_version": entry.version, "theirs_device": entry.device}
    return row


def _tried(state: JsonObject, ops: list[Op]) -> JsonObject:
    """The state with the ops on top; without them where they do not apply."""
    try:
        after = apply_patch(state, ops)
    except errors.PatchError:
        return state
    return after if type(after) is dict else state


def _shown(state: JsonObject, queue: list[Own]) -> JsonObject:
    for own in queue:
        state = _tried(state, own.ops)
    return state


def _pushes_after(log: SessionLog, device: str, version: int) -> list[Entry]:
    return [entry for entry in log.after(version) if entry.seq and entry.device == device]


def _steps(log: SessionLog, device: str, since: int) -> int:
    """What it costs at most to carry the device's pushes since then over others' entries."""
    ops = runs = 0
    is_run = False
    for entry in log.after(max(since, log.floor)):
        if entry.seq and entry.device == device:
            ops += 1 + len(entry.ops)
            is_run = False
        elif entry.ops and not is_run:
            runs += 1
            is_run = True
    return ops * runs


def _lists_on_the_way(state: JsonObject, op: Op) -> list[str]:
    """The lists that the op's pointers go through by an index."""
    lists: list[str] = []
    for name in ("path", "from"):
        value: Any = state
        pointer = op.get(name)
        here = ""
        for step in split_pointer(pointer) if isinstance(pointer, str) else ():
            if isinstance(value, list) and step != "-":
                lists.append(here)
            here += join_pointer([step])
            value = resolve(state, here, None)
    return lists


def _looked_back(log: SessionLog, device: str, base: int, policies: dict[str, Any]) -> list[Own]:
    """The same, as well as the log alone can tell: after a restart, from what the device's pushes became.

    Others' entries are taken back one by one, from the newest own push down to ``base``.
    """
    entries = log.after(base)
    while entries and not (entries[-1].seq and entries[-1].device == device):
        entries.pop()
    states = [log.state_at(base)]
    for entry in entries:
        states.append(cast(JsonObject, apply_patch(states[-1], entry.ops)))
    queue: list[Own] = []
    while entries:
        entry, after = entries.pop(), states.pop()
        if entry.seq and entry.device == device:
            queue.insert(0, Own(entry.version, entry.ops, is_guess=True))
        elif entry.ops:
            back = diff(after, states[-1])
            try:
                each = rebase_each([own.ops for own in queue], [back], policies, base=after)
            except errors.PatchError:
                each = [Rebased([], []) for _ in queue]
            queue = [own._replace(ops=done.ops) for own, done in zip(queue, each, strict=True)]
    return _possible(states[0], queue)


def _possible(state: JsonObject, queue: list[Own]) -> list[Own]:
    """The queue without what does not apply: it wrote into what came from somebody else after the base."""
    for index, own in enumerate(queue):
        try:
            state = cast(JsonObject, apply_patch(state, own.ops))
        except errors.PatchError:
            queue[index] = own._replace(ops=[])
    return queue
