"""Which sessions there are, whose, and which offers wait for whom: indexes in slots of their own.

No step can write a session and an index of another slot at once. So an index is written before the log that it is
about, and what it names is verified when it is read: it never misses one, and sometimes names one too many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from heapq import merge
from typing import Any, Final

from syncbridge.adapters.cluster.keys import (
    BUCKETS,
    account_offers,
    account_sessions,
    bucket_all,
    bucket_due,
    bucket_of,
    session_keys,
)
from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.script import load
from syncbridge.adapters.cluster.log.steps import Step, Steps, ran, sound, together
from syncbridge.adapters.cluster.log.stored import Damage, read_number, text
from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.ports import StoredHead

_OFFER_KEPT_MS: Final = 3 * 86_400_000
"""After its time: it is named by the clock of whoever made it, and two nodes' may be two days apart."""
_WALK_SLACK: Final = 4

_list = load("list")
_unlist = load("unlist")
_offer = load("offer")
_waiting = load("waiting")


class Indexes:
    """The indexes over all sessions, an account's sessions and an account's waiting offers."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    # -- written before what they are about -----------------------------------------------------------------------

    def list_session(self, session: SessionId, account: AccountId, due_ms: int) -> Steps[None]:
        """The session is found by a walk, and looked at by a sweep from ``due_ms`` on. Raises Failed, Damage."""
        bucket, name = bucket_of(session), session.encode()
        keys = [bucket_all(bucket), bucket_due(bucket)]
        answers = yield together(
            [
                ran(self._link, _list, keys, [name, b"%d" % due_ms]),
                self._command(account_sessions(account), b"ZADD", b"0", name, is_write=True),
            ]
        )
        for answer in answers:
            sound(answer)

    def list_offer(self, session: SessionId, account: AccountId, device: DeviceId, until_ms: int) -> Steps[None]:
        """The offer is found when its device says hello. Raises Failed, Damage."""
        args = [b"%b %b" % (device.encode(), session.encode()), b"%d" % until_ms]
        args += [b"%d" % (until_ms - _OFFER_KEPT_MS), b"%d" % (2 * _OFFER_KEPT_MS)]
        sound((yield ran(self._link, _offer, [account_offers(account)], args)))

    # -- and mended after -----------------------------------------------------------------------------------------

    def look_later(self, session: SessionId, due_ms: int) -> Step:
        """The next sweep that looks at the session is that of ``due_ms``."""
        return self._command(
            bucket_due(bucket_of(session)), b"ZADD", b"XX", b"%d" % due_ms, session.encode(), is_write=True
        )

    def unlist(self, session: SessionId, account: bytes, found_due: bytes = b"") -> Steps[None]:
        """The session, which is gone, is in no index; unless it was listed anew since it was found due."""
        bucket, name = bucket_of(session), session.encode()
        keys = [bucket_all(bucket), bucket_due(bucket)]
        steps = [ran(self._link, _unlist, keys, [name, found_due])]
        if account:
            whose = AccountId(text(account))
            steps.append(self._command(account_sessions(whose), b"ZREM", name, is_write=True))
            offers = sound((yield self._command(account_offers(whose), b"ZRANGE", b"0", b"-1")))
            theirs = [offer for offer in offers if offer.endswith(b" " + name)]
            if theirs:
                steps.append(self._command(account_offers(whose), b"ZREM", *theirs, is_write=True))
        for answer in (yield together(steps)):
            sound(answer)

    # -- read -----------------------------------------------------------------------------------------------------

    def waiting(self, account: AccountId, device: DeviceId, now_ms: int) -> Steps[list[SessionId]]:
        """The account's sessions whose head holds an unexpired offer for the device. Raises Failed, Damage."""
        known_from = b"%d" % (now_ms - _OFFER_KEPT_MS)
        found = sound((yield self._command(account_offers(account), b"ZRANGEBYSCORE", known_from, b"+inf")))
        theirs = [
            SessionId(text(name.split(b" ", 1)[1])) for name in found if name.split(b" ", 1)[0] == device.encode()
        ]
        steps = [ran(self._link, _waiting, [session_keys(one).head], [], is_write=False) for one in theirs]
        answers = yield together(steps)
        return [one for one, answer in zip(theirs, answers, strict=True) if _is_waiting(answer, account, device)]

    def due(self, now_ms: int, count_max: int) -> Steps[list[tuple[bytes, SessionId]]]:
        """Sessions that are to be looked at by now, with their due times, the longest due first. Raises as above."""
        commands = [
            self._command(
                bucket_due(bucket), b"ZRANGEBYSCORE", b"-inf", b"%d" % now_ms, b"WITHSCORES", b"LIMIT", b"0",
                b"%d" % count_max,
            )
            for bucket in range(BUCKETS)
        ]  # fmt: skip
        found = []
        for answer in (yield together(commands)):
            pairs = sound(answer)
            found += [(score, SessionId(text(name))) for name, score in zip(pairs[::2], pairs[1::2], strict=True)]
        return sorted(found, key=lambda pair: (float(pair[0]), pair[1]))

    def walk(self, after: str, count_max: int, account: AccountId | None) -> Steps[list[StoredHead]]:
        """The next heads in order of their ids, all that there are or ``count_max``. Raises Failed, Damage."""
        heads: list[StoredHead] = []
        while len(heads) < count_max:
            names, is_last = yield from self._names(after, count_max - len(heads), account)
            found = yield from self._heads(names, b"account", b"version", b"at")
            for session, (whose, version, at) in zip(names, found, strict=True):
                if whose is not None and account in (None, text(whose)):
                    number = read_number(version, "the head's version")
                    heads.append(StoredHead(session, AccountId(text(whose)), number, read_number(at, "its time")))
            if is_last or not names:
                break
            after = names[-1]
        return heads

    def _names(self, after: str, count_max: int, account: AccountId | None) -> Steps[tuple[list[SessionId], bool]]:
        """Names after `after` in order, at most ``count_max``, and whether there are no more."""
        start = b"(" + after.encode() if after else b"-"
        if account is not None:
            parts, each = [account_sessions(account)], count_max
        else:
            parts, each = [bucket_all(bucket) for bucket in range(BUCKETS)], count_max // BUCKETS + _WALK_SLACK
        limit = (b"LIMIT", b"0", b"%d" % each)
        answers = yield together([self._command(part, b"ZRANGEBYLEX", start, b"+", *limit) for part in parts])
        pages: list[list[bytes]] = [sound(answer) for answer in answers]
        # Past the end of a full page there may be names before those of the other parts.
        known_to = min((page[-1] for page in pages if len(page) == each), default=None)
        names = [name for name in merge(*pages) if known_to is None or name <= known_to]
        is_last = known_to is None and len(names) <= count_max
        return [SessionId(text(name)) for name in names[:count_max]], is_last

    def _heads(self, sessions: Iterable[SessionId], *fields: bytes) -> Steps[list[list[Any]]]:
        """These fields of each session's head, None where there is none; of what is no head, none."""
        steps = [self._command(session_keys(session).head, b"HMGET", *fields) for session in sessions]
        heads = []
        for answer in (yield together(steps)):
            try:
                heads.append(sound(answer))
            except Damage:
                heads.append([None] * len(fields))
        return heads

    def _command(self, key: bytes, name: bytes, *words: bytes, is_write: bool = False) -> Step:
        return partial(_send, self._link, key, [name, key, *words], is_write)


def _is_waiting(answer: Any, account: AccountId, device: DeviceId) -> bool:
    """Whether the head, as `waiting.lua` has it, holds an offer that is not over; damage holds none. Raises Failed."""
    try:
        whose, whom, left = sound(answer)
    except Damage:
        return False
    # Where its time is not told, it is for whoever loads the session to judge.
    return bool(whose == account.encode() and whom == device.encode() and left != b"0")


def _send(link: RedisLink, key: bytes, words: list[bytes], is_write: bool, done: Callable[[Any], None]) -> None:
    link.command(key, words, done, is_write=is_write)
