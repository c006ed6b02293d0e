"""The last page: readable in 80 columns, and plain about what is broken."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from syncbridge.demo import report
from syncbridge.demo.account import Account, Handoff, Tally

HANDOFFS = [
    Handoff("offer", "phone", "laptop", 3.21, 0.44),
    Handoff("take", "phone", "laptop", 6.0, 0.2, is_live=False, uncertainty_ms=12_915),
]
CONFLICTS: list[dict[str, Any]] = [
    {
        "path": "/notes",
        "policy": "latest",
        "winner": "theirs",
        "ours": "slow " * 20,
        "theirs": "b",
        "theirs_device": "demo-tv",
    },
    {"path": "/settings/volume", "policy": "last", "winner": "ours", "ours": 30, "theirs": 80, "device": "demo-phone"},
    *[{"path": "/marks", "policy": "append", "winner": "both", "ours": [1], "theirs": [2]} for _ in range(3)],
]


def shown(broken: list[str], tally: Tally) -> list[str]:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    report.show(console, Account(HANDOFFS, tally, CONFLICTS, {"service": "f" * 32, "phone": "f" * 32}, broken))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_the_page_fits_eighty_columns_and_says_who_won_and_why() -> None:
    lines = shown([], Tally(117, 117, 0, 0, 0, 0))
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(line.split()) for line in lines)
    for part in ("offer phone laptop 3.2 0.4 alive", "away (± 12915)", "30 80 phone arrived", "f" * 32):
        assert part in text
    assert "3 times" in text
    assert lines[-1] == "Every promise was kept."


def test_a_broken_promise_is_the_last_thing_said() -> None:
    lines = shown(["nothing acknowledged is lost: not in the state: 1 breaths"], Tally(9, 9, 0, 0, 1, 0))
    assert lines[-2:] == ["BROKEN", "  - nothing acknowledged is lost: not in the state: 1 breaths"]
