"""rebase of a push costs less than parsing a small document, and grows with what meets, not with what was committed."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

import syncbridge._twin as twin
from bench.conftest import Bench
from bench.core_clock import fastest_us
from bench.core_states import parsed, session_state
from syncbridge import compile_policies, rebase
from syncbridge._ext import Committed, Op

TABLE = {"/counters/*": "counter", "/tags": "set", "/playhead": "playhead", "/chapters/*/marks": "append"}

COMMITTED = [
    {"op": "replace", "path": "/playhead/position", "value": 5.5},
    {"op": "replace", "path": "/chapters/0/done", "value": True},
    {"op": "replace", "path": "/chapters/1/mood/after", "value": 3},
    {"op": "add", "path": "/chapters/0/heart/bpm/0", "value": 70},
    {"op": "replace", "path": "/counters/rounds", "value": 5},
    {"op": "add", "path": "/chapters/1/marks/0", "value": {"at_s": 1.5, "text": "x"}},
    {"op": "replace", "path": "/settings/volume", "value": 0.1},
    {"op": "replace", "path": "/playhead/rate", "value": 0},
    {"op": "replace", "path": "/chapters/0/title", "value": "x"},
    {"op": "add", "path": "/tags/0", "value": "y"},
]
PUSHES: dict[str, list[dict[str, Any]]] = {
    "apart": [
        {"op": "replace", "path": "/title", "value": "x"},
        {"op": "replace", "path": "/settings/haptics", "value": False},
        {"op": "add", "path": "/settings/new", "value": 1},
    ],
    "shifted": [
        {"op": "replace", "path": "/settings/haptics", "value": False},
        {"op": "add", "path": "/chapters/0/heart/bpm/3", "value": 99},
        {"op": "replace", "path": "/title", "value": "x"},
    ],
    "conflict": [
        {"op": "replace", "path": "/settings/volume", "value": 0.5},
        {"op": "add", "path": "/chapters/0/heart/bpm/3", "value": 99},
        {"op": "replace", "path": "/title", "value": "x"},
    ],
}


@pytest.mark.parametrize("has_table", [False, True], ids=["no-table", "table"])
@pytest.mark.parametrize("push", PUSHES)
def test_rebase_of_3_ops_over_10_commits_is_cheaper_than_a_parse(bench: Bench, push: str, has_table: bool) -> None:
    base = parsed(session_state(2))
    text = orjson.dumps(base)
    ops = parsed(PUSHES[push])
    log: list[Committed | list[Op]] = [
        {"ops": [op], "version": n, "device": "tv", "at": n} for n, op in enumerate(parsed(COMMITTED), start=1)
    ]
    policies = compile_policies(TABLE) if has_table else None
    bench.same_result(
        f"rebase {push}", list(rebase(ops, log, policies, base=base)), list(twin.rebase(ops, log, policies, base=base))
    )
    ours, parse = fastest_us(
        lambda: rebase(ops, log, policies, base=base), lambda: orjson.loads(text), turns=bench.size(full=60, tiny=2)
    )
    bench.gate(f"core_rebase_{push}", ours / parse, rebase_us=ours, parse_us=parse, has_table=has_table)


def test_rebase_grows_with_the_log_in_proportion(bench: Bench) -> None:
    ops = [{"op": "add", "path": "/l/0", "value": n} for n in range(16)]
    log = [[{"op": "add", "path": "/l/0", "value": n}] for n in range(2_000)]
    short, long = fastest_us(
        lambda: rebase(ops, log[:250]), lambda: rebase(ops, log), turns=bench.size(full=12, tiny=1)
    )
    bench.gate("core_growth", long / short / 8, kind="rebase over a log", small_us=short, large_us=long)


def test_rebase_grows_with_the_push_in_proportion(bench: Bench) -> None:
    ops = [{"op": "add", "path": "/l/0", "value": n} for n in range(128)]
    log = [[{"op": "add", "path": "/l/0", "value": n}] for n in range(200)]
    short, long = fastest_us(lambda: rebase(ops[:16], log), lambda: rebase(ops, log), turns=bench.size(full=12, tiny=1))
    bench.gate("core_growth", long / short / 8, kind="rebase of a push", small_us=short, large_us=long)
