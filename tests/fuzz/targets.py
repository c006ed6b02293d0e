"""What is fuzzed, and what must be true of any input. A target returns, or raises AssertionError.

A documented refusal is a `SyncBridgeError` with a code of the one tree; anything else that is raised is a finding.
Where there are two hands (the compiled functions and their plain twin), both must do the very same.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import msgspec

from syncbridge import _ext, _twin, errors
from syncbridge.core.messages import ServerMessage
from syncbridge.errors import SyncBridgeError
from syncbridge.http.strict import parse_json
from syncbridge.limits import Limits
from syncbridge.wire import codec_client
from syncbridge.wire.close import read_close
from syncbridge.wire.codec import MessageDecoder, encode_message
from syncbridge.wire.handshake import Acceptance, HandshakeRules, RequestHead, canonical_request, client_address, decide

Target = Callable[[bytes], None]

_CODES: Final = frozenset(errors.by_code())
_LIMITS: Final = Limits()
_decoder: Final = MessageDecoder(_LIMITS)
_RULES: Final = HandshakeRules(b"/v1/ws", frozenset({"https://app.example.com"}))
_POLICIES: Final[dict[str, str | dict[str, str]]] = {
    "/n": "counter", "/max": "max", "/min": "min", "/tags": "set", "/notes": {"policy": "append", "key": "id"},
    "/own": "owner", "/at": "latest", "/ask": "manual",
}  # fmt: skip
_compiled_policies: Final = _ext.compile_policies(_POLICIES)
_twin_policies: Final = _twin.compile_policies(_POLICIES)
_SIZE_MAX: Final = 64 * 1024


def _refused(call: Callable[[], Any]) -> tuple[str, Any]:
    """("", the result), or the code and place of the documented refusal."""
    try:
        return "", call()
    except SyncBridgeError as error:
        fault = error
    assert fault.code in _CODES, fault
    assert len(str(fault)) < 2_000, "the sentence repeats what was sent"
    return fault.code, (getattr(fault, "index", None), getattr(fault, "pointer", None))


def codec(data: bytes) -> None:
    """A device's frame: a message within the limits, or a refusal with its place; what is accepted comes back whole."""
    code, message = _refused(lambda: _decoder.decode(data))
    if code:
        assert code in ("bad_message", "unknown_type"), code
        return
    again = codec_client.encode(message)
    assert _decoder.decode(again) == message
    assert json.loads(again)["type"] == json.loads(data)["type"]


def client_codec(data: bytes) -> None:
    """A server's frame: a message, one to pass over, or `bad_message`."""
    code, message = _refused(lambda: codec_client.decode(data))
    assert code in ("", "bad_message"), code
    if isinstance(message, ServerMessage):
        assert codec_client.decode(encode_message(message)) == message


def patch(data: bytes) -> None:
    """``{"doc": ..., "ops": [...]}``: both hands apply it alike or refuse it alike; the document is not touched."""
    case = _case(data, "doc", "ops")
    if case is None:
        return
    doc, ops = case
    before = json.dumps([doc, ops])
    bounds = {"depth_max": 32, "size_max": _SIZE_MAX, "ops_max": 128}
    code, made = _refused(lambda: _ext.apply_patch(doc, ops, **bounds))
    twin_code, twin_made = _refused(lambda: _twin.apply_patch(doc, ops, **bounds))
    assert code == twin_code, (code, made, twin_code, twin_made)
    assert json.dumps([doc, ops]) == before
    if code:
        assert made == twin_made, (made, twin_made)
        return
    assert _ext.equal(made, twin_made)
    assert _ext.measure(made) <= _SIZE_MAX
    assert _ext.equal(_ext.apply_patch(doc, _ext.diff(doc, made)), made)


def pointer(data: bytes) -> None:
    """A pointer as text: both hands split it alike, joining gives it back, and resolving does the same."""
    text = data.decode("utf-8", "replace")
    code, tokens = _refused(lambda: _ext.split_pointer(text))
    assert (code, tokens) == _refused(lambda: _twin.split_pointer(text))
    if not code:
        assert _ext.join_pointer(tokens) == text
    document = {"": 0, "a": [1, {"b~/": 2}], "~": {"0": 3}, text[:3]: {text[3:6]: 4}}
    assert _refused(lambda: _ext.resolve(document, text, None)) == _refused(lambda: _twin.resolve(document, text, None))


def merge(data: bytes) -> None:
    """``{"base": ..., "ours": ..., "theirs": ...}``: three states merged by both hands to the same, conflicts too."""
    case = _case(data, "base", "ours", "theirs")
    if case is None or not all(isinstance(one, dict) for one in case):
        return
    base, ours, theirs = case
    code, made = _refused(lambda: _ext.merge3(base, ours, theirs, _compiled_policies))
    twin_code, twin_made = _refused(lambda: _twin.merge3(base, ours, theirs, _twin_policies))
    assert code == twin_code, (code, twin_code)
    if not code:
        assert _ext.equal(made.state, twin_made.state), (made, twin_made)
        assert made.conflicts == twin_made.conflicts, (made, twin_made)
        assert _ext.equal(_ext.apply_patch(theirs, made.ops), made.state)


def rebase(data: bytes) -> None:
    """``{"base": ..., "ops": [...], "committed": [...]}``: brought over by both hands to the same ops."""
    case = _case(data, "base", "ops", "committed")
    if case is None:
        return
    base, ops, committed = case
    if not isinstance(committed, list) or not isinstance(base, dict) or not isinstance(ops, list):
        return
    state = base
    changes: list[Any] = []
    for change in committed[:8]:
        code, state_after = _refused(lambda change=change, state=state: _ext.apply_patch(state, change, ops_max=32))  # type: ignore[misc]
        if code:
            return
        state = state_after
        changes.append({"ops": change})
    code, _ = _refused(lambda: _ext.apply_patch(base, ops, ops_max=32, size_max=_SIZE_MAX))
    if code:
        return
    code, made = _refused(lambda: _ext.rebase(ops, changes, _compiled_policies, base=base))
    twin_code, twin_made = _refused(lambda: _twin.rebase(ops, changes, _twin_policies, base=base))
    assert code == twin_code, (code, twin_code)
    if not code:
        assert made.ops == twin_made.ops, (made, twin_made)
        assert made.conflicts == twin_made.conflicts, (made, twin_made)


def handshake(data: bytes) -> None:
    """A head's lines: accepted with what the frame layer needs, or refused with a fixed answer that repeats nothing."""
    line, *headers = data.split(b"\n")
    method, _, rest = line.partition(b" ")
    target, _, version = rest.partition(b" ")
    pairs = [(name.strip().lower(), value) for name, _, value in (one.partition(b":") for one in headers)]
    verdict = decide(RequestHead(method, target, version.decode("latin-1"), pairs), _RULES)
    if isinstance(verdict, Acceptance):
        assert len(canonical_request(b"/v1/ws", verdict.key)) < 300
        assert verdict.user_agent.isprintable()
        assert verdict.origin in (None, "https://app.example.com")
    else:
        answer = verdict.answer()
        assert answer.startswith(b"HTTP/1.1 ")
        assert len(answer) < 600
    hop = client_address("10.0.0.1", [value for _, value in pairs], frozenset({"10.0.0.1"}))
    assert hop.isprintable()
    assert len(hop) <= 64
    close = read_close(data[:125])
    assert close.answer is None or 1000 <= close.answer < 5000


def strict_json(data: bytes) -> None:
    """A body over REST: one value as Python's own parser reads it, or a refusal."""
    code, value = _refused(lambda: parse_json(data, depth_max=_LIMITS.message_depth_max))
    if code:
        assert code in ("bad_message", "depth_exceeded", "validation_failed"), code
        return
    assert msgspec.json.decode(msgspec.json.encode(value)) == value
    _ext.check(value, depth_max=_LIMITS.message_depth_max)


def _case(data: bytes, *names: str) -> list[Any] | None:
    """These members of the object in `data`, each a value that a peer can hold; None where it is none."""
    try:
        value = msgspec.json.decode(data)
        if not isinstance(value, dict) or not value.keys() >= set(names):
            return None
        _ext.check(value, depth_max=40)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, SyncBridgeError):
        return None
    return [value[name] for name in names]


def every(data: bytes) -> None:
    """The first byte names one of the others, the rest is its input."""
    if data:
        _EACH[data[0] % len(_EACH)](data[1:])


_EACH: Final = (codec, client_codec, patch, pointer, merge, rebase, handshake, strict_json)

TARGETS: Final[dict[str, Target]] = {
    "every": every,
    "codec": codec,
    "client-codec": client_codec,
    "patch": patch,
    "pointer": pointer,
    "merge": merge,
    "rebase": rebase,
    "handshake": handshake,
    "strict-json": strict_json,
}
