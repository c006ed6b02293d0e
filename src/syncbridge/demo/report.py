"""The last page: handoffs, updates, conflicts, hashes, and the verdict; readable in 80 columns, piped or not."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from syncbridge.demo.account import HANDOFF_MS_MAX, PLAYHEAD_MS_MAX, Account

_DECIDED = {
    ("last", "ours"): "arrived last",
    ("last", "theirs"): "arrived last",
    ("latest", "ours"): "was made later",
    ("latest", "theirs"): "was made later",
    ("max", "ours"): "is larger",
    ("max", "theirs"): "is larger",
}


def show(console: Console, account: Account) -> None:
    """The whole account is on the console."""
    console.print()
    console.print(_handoffs(account))
    console.print(_updates(account))
    if account.conflicts:
        console.print(_conflicts(account))
    else:
        console.print("No conflicts.\n")
    console.print(_hashes(account))
    if account.broken:
        console.print(Text("BROKEN", "bold red"))
        for promise in account.broken:
            console.print(Text(f"  - {promise}", "red"), soft_wrap=True)
    else:
        console.print(Text("Every promise was kept.", "bold green"))


def _table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        is_name = column in ("path", "how", "from", "to", "hash")
        table.add_column(column, justify="right" if column in right else "left", overflow="fold", no_wrap=is_name)
    return table


def _handoffs(account: Account) -> Table:
    table = _table(
        f"Handoffs (latency at most {HANDOFF_MS_MAX:g} ms; playhead within {PLAYHEAD_MS_MAX:g} ms, source alive)",
        *("how", "from", "to", "latency ms", "playhead off by ms", "source"),
        right=("latency ms", "playhead off by ms"),
    )
    for one in account.handoffs:
        source = "alive" if one.is_live else f"away (± {one.uncertainty_ms})"
        table.add_row(one.how, one.source, one.target, f"{one.latency_ms:.1f}", f"{one.error_ms:.1f}", source)
    return table


def _updates(account: Account) -> Table:
    names = ("sent", "acknowledged", "refused", "unanswered", "lost", "doubled")
    table = _table("Updates, all devices", *names, right=names)
    counted = account.tally
    cells = [str(getattr(counted, name)) for name in names[:4]]
    marked = [Text(str(value), "bold red" if value else "bold green") for value in (counted.lost, counted.doubled)]
    table.add_row(*cells, *marked)
    return table


def _conflicts(account: Account) -> Table:
    table = _table("Conflicts, and how each was decided", "path", "policy", "kept", "given up", "because")
    both: Counter[tuple[str, str]] = Counter()
    for row in account.conflicts:
        path, policy = str(row.get("path", "")), str(row.get("policy", ""))
        if row.get("winner") == "both" and not row.get("refused"):
            both[path, policy] += 1
        else:
            table.add_row(path, policy, *_decision(row))
    for (path, policy), count in both.items():
        table.add_row(path, policy, "what both wrote", "nothing", f"the policy keeps both, {count} times")
    return table


def _decision(row: dict[str, Any]) -> tuple[str, str, str]:
    ours, theirs, winner = _short(row.get("ours")), _short(row.get("theirs")), str(row.get("winner", ""))
    policy, code = str(row.get("policy", "")), str(row.get("refused", ""))
    if code:
        return theirs, ours, f"refused: {code}"
    if winner == "ours":
        return ours, theirs, f"{_who(row, 'device')} {_DECIDED.get((policy, winner), 'wins')}"
    if winner == "theirs":
        return theirs, ours, f"{_who(row, 'theirs_device')} {_DECIDED.get((policy, winner), 'wins')}"
    return f"{ours}; {theirs}", "nothing", "a person decides"


def _who(row: dict[str, Any], key: str) -> str:
    return str(row.get(key) or "the other").removeprefix("demo-")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 28 else f"{text[:27]}…"


def _hashes(account: Account) -> Table:
    table = _table("The state's hash", "held by", "hash")
    if not account.hashes:
        table.add_row("nobody could be asked", "")
    same = len(set(account.hashes.values())) == 1
    for name, digest in account.hashes.items():
        table.add_row(name, Text(digest, "green" if same else "red"))
    return table
