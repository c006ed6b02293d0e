"""Bytes to messages and back: strict about what comes in, one encoder for what goes out.

A frame is accepted or refused with a `SyncBridgeError` that names the place (``$.ops[3].path``); nothing else is
ever raised. What JSON parsers let pass and we do not: a name that stands twice in one object, integers beyond
2**53 - 1, values nested past the limit, `NaN`, lone surrogates, NUL in a string.

How a doubled name is found without parsing twice. Every member of a JSON object costs the text one structural
colon. Encoding what was decoded gives back each member that was understood, once, and each colon inside a kept
string, once. So when the text has no more colons than its encoding, no member was dropped; and a member is
dropped for a double, for an unknown field, or for a default that was spelt out. Only then, and when a `\\u` escape
may hide a colon, the text is read again by a parser that sees the pairs. The common frame pays one encoding and
two counts (0.8 microseconds of 2.5 for two ops), the others three times as much.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from syncbridge._ext import check
from syncbridge.core.entry import Entry
from syncbridge.core.messages import AnyClientMessage, Clock, Hello, Push, ServerMessage, Signal
from syncbridge.errors import BadMessage, DepthExceeded, SyncBridgeError, UnknownType
from syncbridge.limits import INTEGER_SAFE_MAX, Limits

_PLACE_CHARS_MAX: Final = 200
_NAME_CHARS_MAX: Final = 40
_UNKNOWN_TYPE_PLACE: Final = " - at `$.type`"
_BACKSLASH: Final = 0x5C  # looking for a number is three times as fast as for one byte of bytes
_ENVELOPE_LEVELS: Final = 1  # the message itself, around the value that is checked

_encode: Final = msgspec.json.Encoder().encode
encode_entry: Final = _encode
"""An entry as its journal body: one JSON object, also the tail of its wire frame (see `entry_frame`)."""


def encode_message(message: ServerMessage) -> bytes:
    """The message as one frame; `type` stands first."""
    return _encode(message)


def entry_head(session: str) -> bytes:
    """What an entry's frame of this session begins with; a session id needs no escaping (`messages.Id`)."""
    return b'{"type":"entry","session":"%s",' % session.encode("ascii")


def entry_frame(head: bytes, body: bytes) -> bytes:
    """One entry's body as an `entry` message."""
    return head + body[1:]


def entries_frame(session: str, bodies: Sequence[bytes]) -> bytes:
    """Several entries' bodies, oldest first, as one `entries` message."""
    return b'{"type":"entries","session":"%s","entries":[%s]}' % (session.encode("ascii"), b",".join(bodies))


def decode_entry(body: bytes) -> Entry:
    """The entry that `encode_entry` wrote."""
    return _decode_entry(body)


_decode_entry: Final = msgspec.json.Decoder(Entry).decode


class MessageDecoder:
    """Decodes what devices say, within the limits given.

    Law      any bytes give a message or a `SyncBridgeError` with a code of the protocol.
    Memory   a message shares nothing with the frame.
    """

    __slots__ = ("_decode", "_depth_max")

    def __init__(self, limits: Limits) -> None:
        self._decode: Callable[[bytes], AnyClientMessage] = msgspec.json.Decoder(AnyClientMessage).decode
        self._depth_max = limits.message_depth_max - _ENVELOPE_LEVELS

    def decode(self, frame: bytes) -> AnyClientMessage:
        """The message in ``frame``. Raises BadMessage (the sentence begins with the place) or UnknownType."""
        try:
            message = self._decode(frame)
            if type(message) is Push:
                check(message.ops, depth_max=self._depth_max, place="$.ops")
            elif type(message) is Signal:
                check(message.data, depth_max=self._depth_max, place="$.data")
            elif type(message) is Clock:
                check(message.t0, place="$.t0")
            elif type(message) is Hello:
                check(message.protocol, place="$.protocol")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._fault(frame, error) from None
        except DepthExceeded as error:
            raise BadMessage(error.message) from None
        has_escape = _BACKSLASH in frame and b"\\u" in frame
        if has_escape or frame.count(b":") != _encode(message).count(b":"):
            refuse_doubles(frame)
            if has_escape and b"\\u0000" in frame:
                refuse_nul(frame)
        return message

    def _fault(self, frame: bytes, error: Exception) -> SyncBridgeError:
        """What to answer for ``error``: off the good path, so it may read the frame once more for a better word."""
        if isinstance(error, RecursionError):
            return BadMessage(f"$: {DepthExceeded.meaning}")
        if isinstance(error, msgspec.ValidationError):
            text = str(error)
            if text.endswith(_UNKNOWN_TYPE_PLACE) and text.startswith("Invalid value"):
                try:
                    refuse_doubles(frame)
                except BadMessage as doubled:
                    return doubled
                return UnknownType()
            what, found, place = text.rpartition(" - at ")
            if "[...]" in place:  # msgspec does not name a member of a plain object; the laxer parser's walk does
                return BadMessage(_why_malformed(frame, self._depth_max + _ENVELOPE_LEVELS) or f"$: {what}")
            return BadMessage(f"{place.strip('`')[:_PLACE_CHARS_MAX]}: {what}" if found else f"$: {text}")
        return BadMessage(_why_malformed(frame, self._depth_max + _ENVELOPE_LEVELS) or f"$: {error}"[:_PLACE_CHARS_MAX])


def _why_malformed(frame: bytes, depth_max: int) -> str | None:
    """The place and the reason, where Python's own, laxer parser gets through; None where it is no JSON at all."""
    try:
        check(json.loads(frame.decode(), parse_int=_integer), depth_max=depth_max)
    except UnicodeDecodeError:
        return "$: the text is not UTF-8"
    except RecursionError:
        return f"$: {DepthExceeded.meaning}"
    except SyncBridgeError as fault:
        return fault.message
    except ValueError:
        return None
    return None


def _integer(digits: str) -> int:
    # Python refuses texts of more than 4,300 digits with an error that knows no place: `check` names it, also of these.
    return int(digits) if len(digits) <= 17 else INTEGER_SAFE_MAX + 1


def refuse_nul(frame: bytes) -> None:
    """No string and no name in ``frame``, which is JSON, holds NUL; else BadMessage naming the first place.

    PostgreSQL keeps no NUL, a C client ends its strings at one, and a log shows nothing of it.
    """
    waiting: deque[tuple[str, Any]] = deque([("$", json.loads(frame))])
    while waiting:
        place, node = waiting.popleft()
        if isinstance(node, str):
            if "\0" in node:
                raise BadMessage(f"{place[:_PLACE_CHARS_MAX]}: a string holds NUL")
        elif isinstance(node, dict):
            if any("\0" in name for name in node):
                raise BadMessage(f"{place[:_PLACE_CHARS_MAX]}: a name holds NUL")
            waiting += [(_spelt(place, name), child) for name, child in node.items()]
        elif isinstance(node, list):
            waiting += [(f"{place}[{index}]", child) for index, child in enumerate(node)]


# -- doubled names ----------------------------------------------------------------------------------------------


class _Doubled(dict[str, Any]):
    """An object in which ``name`` stood twice."""

    name = ""


class _PairsSeen:
    """Collects the members of every object; remembers whether any name was doubled."""

    __slots__ = ("is_doubled",)

    def __init__(self) -> None:
        self.is_doubled = False

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) == len(pairs):
            return members
        self.is_doubled = True
        doubled = _Doubled(members)
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                doubled.name = name
                break
            seen.add(name)
        return doubled


def refuse_doubles(frame: bytes) -> None:
    """No object in ``frame``, which is JSON, holds a name twice; else BadMessage naming the first place."""
    seen = _PairsSeen()
    try:
        value = json.JSONDecoder(object_pairs_hook=seen).decode(frame.decode())
    except RecursionError:
        raise BadMessage(f"$: {DepthExceeded.meaning}") from None
    except ValueError as error:
        raise BadMessage(f"$: {error}"[:_PLACE_CHARS_MAX]) from None
    if seen.is_doubled:
        raise BadMessage(f"{_doubled_place(value)}: the name stands twice in its object")


def _doubled_place(value: Any) -> str:
    """Where the outermost doubled name is; a walk by a queue, for the text may be deep."""
    waiting: deque[tuple[str, Any]] = deque([("$", value)])
    while waiting:
        place, node = waiting.popleft()
        if isinstance(node, _Doubled):
            return _spelt(place, node.name)[:_PLACE_CHARS_MAX]
        if isinstance(node, dict):
            waiting += [(_spelt(place, name), child) for name, child in node.items()]
        elif isinstance(node, list):
            waiting += [(f"{place}[{index}]", child) for index, child in enumerate(node)]
    return "$"


def _spelt(place: str, name: str) -> str:
    plain = name.isascii() and name.isidentifier() and len(name) <= _NAME_CHARS_MAX
    return f"{place}.{name}" if plain else f"{place}[{json.dumps(name[:_NAME_CHARS_MAX])}]"
