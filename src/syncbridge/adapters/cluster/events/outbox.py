"""The outbox of sessions in Redis: facts and changes of each slot, written by the commit's own script.

A node takes what its own commits left (it knows their slots), and looks through all slots from time to time for what
another left behind. A slot is taken under a lease that is given up as soon as nothing waits there, so nodes that write
to the same slot hold each other up for a moment only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from itertools import chain, islice
from typing import Final, TypeVar

import msgspec
import structlog

from syncbridge.adapters.cluster.keys import SLOTS, changed_key, outbox_key, relay_key, session_keys, slot_of, slot_tags
from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.replies import Answer, Failure
from syncbridge.adapters.cluster.link.script import Script, load
from syncbridge.adapters.cluster.log.stored import pack_change, read_change
from syncbridge.core.entry import Txn
from syncbridge.core.facts import Change, Fact, decode_fact, encode_fact, facts
from syncbridge.core.ids import SessionId
from syncbridge.errors import Unavailable
from syncbridge.ports import Backlog, Waiting

LEASE_MS: Final = 15_000
"""A relay that died is followed so soon; one that lives renews it at each take."""
URGENT_AT_ONCE: Final = 64
"""Slots with facts of this node's commits: a person may wait for what they say."""
SLOTS_AT_ONCE: Final = 256
"""All slots of one pass, 6 ms of a server: where every slot has changes, each is looked at within 13 s."""
SLOTS_A_ROUND: Final = 64
"""Asked in one flush; none more where these gave enough, for what is taken is in memory."""
FACTS_OF_A_SLOT: Final = 32
"""Many slots with some facts each: those of one session are told one after the other."""
READ_AT_ONCE: Final = 2
"""Slots of which what waits is read in one turn of the loop, which that takes half a millisecond of."""
SEARCHED_AT_ONCE: Final = 1_024
"""Slots of one search: 1.7 ms of a server; a look of four every 5 s is one and a half thousandths of its time."""
SEARCHES_A_LOOK: Final = 4
FACTS_MAX: Final = 512
"""Of one slot: 8 million of a whole cluster, some 3 GB, and more than any alert leaves unseen."""

_find, _take, _settle = load("outbox_find"), load("outbox_take"), load("outbox_settle")
_release, _trim = load("outbox_release"), load("outbox_trim")
_log = structlog.get_logger(__name__)
_Said = TypeVar("_Said")


class RedisOutbox:
    """`Outbox` of every session in Redis, at one node. `facts_of` goes to the store, which writes what it gives.

    Durability  that of the commit: what a failover takes from the log it takes from here, and what is put back into
                the log is told once more by nobody (the session's next change says how far it is).
    Fresh       what this node committed is taken at the next pass; what a dead node left, within a minute.
    """

    name = "sessions"

    def __init__(self, link: RedisLink, holder: str, *, ready_ms: int) -> None:
        self._link = link
        self._holder = holder.encode()
        self._ready_ms = ready_ms
        self._urgent: dict[int, None] = {}
        self._slots: dict[int, None] = {}
        """Slots where something may wait, in the order in which they are looked at next."""
        self._held: set[int] = set()
        self._searched = 0
        self._found: dict[int, tuple[int, int]] = {}
        """By the first slot of each part that was searched: how much waits in it, and since when."""
        self._dropped = 0

    async def open(self) -> None:
        """The outboxes of all slots have their names, before anybody is served: to find them holds a loop up."""
        await asyncio.to_thread(slot_tags)

    def facts_of(self, txn: Txn) -> list[bytes]:
        """What the commit of this transaction leaves for the broker; its slot is looked at soon."""
        slot = slot_of(session_keys(txn.session).head)
        bodies = [encode_fact(fact) for fact in facts(txn, ready_ms=self._ready_ms)]
        if bodies:
            self._urgent[slot] = None
        else:
            self._slots.setdefault(slot)
        return bodies

    async def take(self, count_max: int) -> list[Waiting]:
        slots = list(islice(self._urgent, min(URGENT_AT_ONCE, count_max)))
        others = (slot for slot in self._slots if slot not in self._urgent)
        slots += list(islice(others, SLOTS_AT_ONCE - len(slots)))
        parts: list[Waiting] = []
        fault: BaseException | None = None
        count = asked = 0
        while asked < len(slots) and count < count_max:
            some = slots[asked : asked + SLOTS_A_ROUND]
            asked += len(some)
            for slot, part in zip(some, await self._take_slots(some), strict=True):
                if isinstance(part, BaseException):
                    fault = part
                    self._slots[slot] = None
                elif part is not None:
                    parts.append(part)
                    count += len(part.facts) + len(part.changes)
        if fault is not None and (not parts or not isinstance(fault, Unavailable)):
            raise fault
        # Where some slots' server is away, the others' sessions are told of all the same.
        if parts and (asked < len(slots) or len(self._urgent) >= URGENT_AT_ONCE):
            parts[-1] = msgspec.structs.replace(parts[-1], has_more=True)
        return parts

    async def _take_slots(self, slots: Sequence[int]) -> list[Waiting | BaseException | None]:
        """What waits in each of them, or why that is not known; they are looked at again where something does."""
        for slot in slots:
            self._urgent.pop(slot, None)
            self._slots.pop(slot, None)  # what a commit leaves from now on is no part of the answers
        parts: list[Waiting | BaseException | None] = []
        args = (self._holder, b"%d" % LEASE_MS, b"%d" % FACTS_OF_A_SLOT)
        try:
            asked = (self._run(_take, _keys(slot), args) for slot in slots)
            for slot, answer in zip(slots, await asyncio.gather(*asked, return_exceptions=True), strict=True):
                try:
                    parts.append(answer if isinstance(answer, BaseException) else await self._read(slot, answer))
                except Unavailable as error:
                    parts.append(error)
                if len(parts) % READ_AT_ONCE == 0:
                    await asyncio.sleep(0)
        except BaseException:
            self._slots.update(dict.fromkeys(slots))  # a relay that ends takes what it can once more
            raise
        return parts

    async def _read(self, slot: int, answer: Answer) -> Waiting | None:
        """What waits in the slot by that answer. Raises Unavailable."""
        if not isinstance(answer, list) or not answer:
            raise Unavailable(f"outbox_take answered {type(answer).__name__}")
        if answer[0] != 2:
            if answer[0] != 1:
                self._urgent[slot] = None  # another node is at it now: it may not know of what came last
            return None
        _, fence, more, rows, changed = answer
        self._slots.setdefault(slot)  # behind the others, next time; also a backlog: what comes now goes before it
        self._held.add(slot)
        places = [bytes(place).decode() for place in rows[::2]]
        read = [_fact(body) for body in rows[1::2]]
        broken = [place for place, fact in zip(places, read, strict=True) if fact is None]
        pairs = list(zip(changed[::2], changed[1::2], strict=True))
        ranges = [_change(name, value) for name, value in pairs]
        lost = [pair for pair, change in zip(pairs, ranges, strict=True) if change is None]
        if broken or lost:
            # Said where it was read; what cannot be read is never told, and must not hold up the rest.
            self._dropped += len(broken) + len(lost)
            args = [self._holder, b"%d" % fence, b"%d" % len(broken), *(place.encode() for place in broken)]
            await self._run(_settle, _keys(slot), [*args, *chain.from_iterable(lost)])
        taken = [fact for fact in read if fact is not None]
        places = [place for place in places if place not in broken]
        changes = [change for change in ranges if change is not None]
        return Waiting(str(slot), int(fence), taken, changes, places, bool(more))

    async def settle(self, waiting: Waiting, told: Sequence[int], changes: Sequence[Change]) -> bool:
        slot = int(waiting.part)
        args = [self._holder, b"%d" % waiting.fence, b"%d" % len(told)]
        args += [waiting.places[index].encode() for index in told]
        for change in changes:
            args += [change.session.encode(), pack_change(change)]
        answer = await self._run(_settle, _keys(slot), args)
        if answer != 1:
            self._held.discard(slot)
        return answer != 0

    async def look(self) -> Backlog:
        for _ in range(SEARCHES_A_LOOK if len(self._found) * SEARCHED_AT_ONCE >= SLOTS else SLOTS // SEARCHED_AT_ONCE):
            await self._search(self._searched)
            self._searched = (self._searched + SEARCHED_AT_ONCE) % SLOTS
        count = sum(waiting for waiting, _ in self._found.values())
        oldest_at = min((at for _, at in self._found.values() if at), default=0)
        dropped, self._dropped = self._dropped, 0
        return Backlog(count, oldest_at, dropped)

    async def _search(self, first: int) -> None:
        """These slots' backlog is known; where something waits is looked at, and no more waits than may."""
        answers: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        tags = slot_tags()[first : first + SEARCHED_AT_ONCE]
        self._link.everywhere(_find, tags, partial(_tell, answers), is_write=False)
        count, oldest_at = 0, 0
        fault = ""
        for answer in await answers:
            if isinstance(answer, Failure):
                fault = answer.text  # the other servers' slots are looked at all the same
            for place, facts_count, changes_count, oldest in answer if isinstance(answer, list) else []:
                slot = first + place - 1
                self._slots.setdefault(slot)
                count += facts_count + changes_count
                if oldest:
                    at = int(bytes(oldest).partition(b"-")[0])
                    oldest_at = min(oldest_at or at, at)
                if facts_count > FACTS_MAX:
                    gone = await self._run(_trim, (outbox_key(slot),), (b"%d" % FACTS_MAX,))
                    self._dropped += gone if isinstance(gone, int) else 0
        if fault:
            raise Unavailable(fault)
        self._found[first] = (count, oldest_at)

    async def release(self) -> None:
        held, self._held = self._held, set()
        await asyncio.gather(*(self._run(_release, (relay_key(slot),), (self._holder,)) for slot in held))

    async def _run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Answer:
        """The script's answer. Raises Unavailable: it ran or not, and may be run again."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._link.run(script, keys, args, partial(_tell, answer))
        said = await answer
        if isinstance(said, Failure):
            raise Unavailable(said.text)
        return said


def _tell(answer: asyncio.Future[_Said], said: _Said) -> None:
    if not answer.done():  # whoever asked may be gone
        answer.set_result(said)


def _keys(slot: int) -> tuple[bytes, bytes, bytes]:
    return outbox_key(slot), changed_key(slot), relay_key(slot)


def _fact(body: bytes) -> Fact | None:
    try:
        return decode_fact(body)
    except msgspec.DecodeError as error:
        _log.error("event not read", outbox="sessions", reason=str(error))
        return None


def _change(session: bytes, packed: bytes) -> Change | None:
    try:
        return read_change(SessionId(session.decode()), packed)
    except ValueError:
        _log.error("event not read", outbox="sessions", reason="a change is not as it was written")
        return None
