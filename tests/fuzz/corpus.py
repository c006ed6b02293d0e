"""Where fuzzing begins: the vectors that every SDK shares, and the inputs that once were findings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.house.files import ROOT
from tests.wire.rawclient import head

EACH = ("codec", "client-codec", "patch", "pointer", "merge", "rebase", "handshake", "strict-json")
"""In the order of the first byte of an input for `every`."""
VECTORS = ROOT / "clients/vectors"
FINDINGS = Path(__file__).with_name("findings")
"""One file an input, in a folder named for its target. What fuzzing finds is put here and stays."""


def seeds(target: str) -> Iterator[bytes]:
    """Inputs that reach far into the target."""
    yield from (path.read_bytes() for path in findings(target))
    match target:
        case "every":
            for number, one in enumerate(EACH):
                yield from (bytes((number,)) + seed for seed in seeds(one))
        case "codec":
            yield from map(_bytes, _vectors("messages/device.json", "messages"))
            yield from (case["frame"].encode() for case in _vectors("messages/refused.json", "frames"))
        case "client-codec":
            yield from map(_bytes, _vectors("messages/server.json", "messages"))
        case "patch":
            for name in ("apply", "rfc6902"):
                yield from (_bytes({"doc": one["doc"], "ops": one["ops"]}) for one in _vectors(f"patch/{name}.json"))
        case "pointer":
            yield from (one["pointer"].encode() for one in _vectors("patch/rfc6901.json"))
            yield from (b"/a~2", b"/a~", b"a", b"/list/01", b"/list/-1")
        case "merge":
            for one in _vectors("merge/merge3.json"):
                yield _bytes({name: one[name] for name in ("base", "ours", "theirs")})
        case "rebase":
            for one in _vectors("rebase/rebase.json"):
                committed = [change["ops"] for change in one["committed"]]
                yield _bytes({"base": one["base"], "ops": one["ops"], "committed": committed})
        case "handshake":
            yield head().replace(b"\r\n", b"\n")
            yield head("POST /v1/ws?x HTTP/1.0", extra=(("Origin", "null"),)).replace(b"\r\n", b"\n")
        case "strict-json":
            yield from (_bytes(one["value"]) for one in _vectors("canonical/rfc8785.json"))
            yield from (b"", b"\xef\xbb\xbf{}", b"NaN", b"1e400", b'{"a":1,"a":2}', b'"\\u0000"', b"[" * 2_000)


def findings(target: str) -> list[Path]:
    """The inputs that once were findings."""
    return sorted((FINDINGS / target).glob("*"))


def _vectors(name: str, key: str = "cases") -> list[Any]:
    found: list[Any] = json.loads((VECTORS / name).read_text("utf-8"))[key]
    return found


def _bytes(value: Any) -> bytes:
    return json.dumps(value).encode()
