"""The whole catalogue: its clauses, the rows that prove each, and the page that client developers read."""

from __future__ import annotations

from typing import Final

from tests.catalogue import framing, handshake, identity, patches, syncing, texts
from tests.catalogue.rows import Row

CLAUSES: Final[dict[str, tuple[str, ...]]] = {
    "Handshake": (
        "silence", "one byte a second", "half-open TLS", "capped in number", "HTTP/1.0", "POST", "body",
        "missing or double Host", "missing or double or malformed key", "bare LF", "NUL", "oversized headers",
        "version other than 13", "Firefox", "foreign, null or doubled Origin", "token in the URL",
        "a crash in our own code",
    ),
    "Frames": (
        "RSV bits", "reserved opcodes", "unmasked", "orphan continuation", "interleaved data",
        "fragmented or long control frames", "bad lengths", "bad close codes", "bad UTF-8", "binary",
        "over 64 KiB in all fragments", "more than 16 fragments", "ping or pong floods",
    ),
    "JSON": (
        "empty", "two values", "trailing comma", "BOM", "NaN", "1e400", "depth over the limit", "100,000 brackets",
        "duplicate keys", "lone surrogates", "bad UTF-8", "NUL in strings", "integers beyond 2^53",
        "true where an integer belongs", "__proto__", "a type nobody knows",
    ),
    "Patch": (
        "missing path", "bad pointer", "- on an object", "index 01, -1, 10^9", "test fails", "move into own child",
        "a copy bomb", "over 128 ops", "over the state limit", "whole root",
    ),
    "Sync": (
        "base in the future", "base negative, huge, a string", "unknown epoch", "seq skipped", "seq repeated",
        "seq repeated with another body", "push before hello", "join of a session that is foreign, deleted or unknown",
        "sixth device", "handoff to self, to a foreign, unknown or removed device", "two handoffs at once",
        "stale fence", "10,000 joins", "too many bad messages", "numbers outside a session type's range",
    ),
    "Identity": (
        "alg none or another", "string exp", "duplicate claims", "missing exp", "unknown or path-like kid", "jku, x5u",
        "wrong aud or iss", "another spelling of a good token", "200 KB token", "token of a removed device or account",
        "ids with {}", "quotes, NUL, CR LF and ANSI in names", "10 MB password", "200 log-ins at once",
        "known and unknown accounts answer alike in time",
    ),
}  # fmt: skip
"""Everything bad that the service promises an exact answer to. A clause without a row is a promise without a proof."""

ROWS: Final[list[Row]] = [
    *handshake.ROWS,
    *framing.ROWS,
    *texts.ROWS,
    *patches.ROWS,
    *syncing.ROWS,
    *identity.ROWS,
]


def unproved(rows: list[Row]) -> list[str]:
    """Clauses that no row is about."""
    proved = {(row.family, row.clause) for row in rows}
    return [f"{family}: {one}" for family, clauses in CLAUSES.items() for one in clauses if (family, one) not in proved]


def page(family: str) -> str:
    """The rows of one family as the page shows them."""
    lines = ["| sent | what it gets |", "| --- | --- |"]
    lines += [f"| {_cell(row.sent)} | {_outcome(row.gets)} |" for row in ROWS if row.family == family]
    return "\n".join(lines) + "\n"


def _outcome(gets: str) -> str:
    return ", ".join(
        f"`{part}`" if part[0].isdigit() or part.split()[0] in _CODED else part for part in _cell(gets).split("; ")
    )


_CODED: Final = frozenset({"error", "reject", "close", "ack", "joined"})


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
