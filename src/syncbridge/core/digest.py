"""Digests: of a state, so that a device can tell it is whole; of a push, so that a repeat can be told from a reuse."""

from __future__ import annotations

import hashlib
import zlib

import msgspec

from syncbridge._ext import canonical
from syncbridge.core.ids import JsonObject
from syncbridge.core.messages import Push

STATE_HASH_CHARS = 32

_encode = msgspec.json.Encoder().encode


def state_hash(state: JsonObject) -> str:
    """The digest that `joined.hash` carries: the first 32 hex digits of SHA-256 over the state's RFC 8785 form.

    Equal states have equal digests in every language: RFC 8785 prints 1.0 as 1, as JavaScript does.
    """
    return hashlib.sha256(canonical(state)).hexdigest()[:STATE_HASH_CHARS]


def push_digest(push: Push) -> int:
    """A number below 2**53 that differs, but for one case in 2**32, when what the push asks for differs.

    It covers base, ops, intent and `at`: what a device may not change under the same ``seq``. The fence is left
    out, for a device that learnt a new one meanwhile asks for the same thing. Not a defence against forgery: a
    device can only fool itself.
    """
    body = _encode((push.base, push.ops, push.intent, push.at))
    return (len(body) & 0x1FFFFF) << 32 | zlib.crc32(body)
