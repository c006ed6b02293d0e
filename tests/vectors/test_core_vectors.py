"""The vectors every SDK shares, held by the compiled core and its twin."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from syncbridge.errors import SyncBridgeError
from tests.twin.cores import each_core

VECTORS = Path(__file__).parents[2] / "clients" / "vectors"


def _file(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((VECTORS / name).read_text(encoding="utf-8"))
    return found


def _cases(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in _file(name)["cases"]])


def _apply(core: ModuleType, case: dict[str, Any]) -> None:
    before = json.dumps([case["doc"], case["ops"]])
    limits = {name: case[name] for name in ("depth_max", "size_max", "ops_max") if name in case}
    if "error" not in case:
        assert core.equal(core.apply_patch(case["doc"], case["ops"], **limits), case["expected"])
    else:
        with pytest.raises(SyncBridgeError) as refused:
            core.apply_patch(case["doc"], case["ops"], **limits)
        assert refused.value.code == case["error"]["code"]
        index = case["error"]["index"]
        assert index is None or f"op {index}" in str(refused.value)
    assert json.dumps([case["doc"], case["ops"]]) == before


@each_core
@_cases("patch/rfc6902.json")
def test_rfc_6902_appendix_a(core: ModuleType, case: dict[str, Any]) -> None:
    _apply(core, case)


@each_core
@_cases("patch/apply.json")
def test_apply_beyond_the_rfcs_examples(core: ModuleType, case: dict[str, Any]) -> None:
    _apply(core, case)


@each_core
@_cases("patch/rfc6901.json")
def test_rfc_6901_section_5(core: ModuleType, case: dict[str, Any]) -> None:
    doc = _file("patch/rfc6901.json")["doc"]
    assert core.resolve(doc, case["pointer"]) == case["expected"]
    assert core.join_pointer(core.split_pointer(case["pointer"])) == case["pointer"]


@each_core
@_cases("patch/rfc7396.json")
def test_rfc_7396_appendix_a(core: ModuleType, case: dict[str, Any]) -> None:
    assert core.equal(core.merge_patch(case["doc"], case["patch"]), case["expected"])


@each_core
@_cases("diff/laws.json")
def test_diff_vectors(core: ModuleType, case: dict[str, Any]) -> None:
    ops = core.diff(case["a"], case["b"])
    assert core.equal(core.apply_patch(case["a"], ops), case["b"])
    assert len(ops) <= case["ops_max"]


@each_core
@_cases("canonical/rfc8785.json")
def test_rfc_8785_examples(core: ModuleType, case: dict[str, Any]) -> None:
    assert core.canonical(case["value"]).decode() == case["text"]


@each_core
@_cases("rebase/rebase.json")
def test_rebase_vectors(core: ModuleType, case: dict[str, Any]) -> None:
    policies = core.compile_policies(case["policies"]) if "policies" in case else None
    rebased = core.rebase(
        case["ops"],
        case["committed"],
        policies,
        base=None if case.get("without_base") else case["base"],
        at=case.get("at"),
        is_owner=case.get("is_owner", True),
    )
    assert rebased.ops == case["expected"]["ops"]
    assert rebased.conflicts == case["expected"]["conflicts"]
    state = case["base"]
    for change in case["committed"]:
        state = core.apply_patch(state, change["ops"])
    assert core.equal(core.apply_patch(state, rebased.ops), case["expected"]["state"])


@each_core
@_cases("merge/merge3.json")
def test_merge_vectors(core: ModuleType, case: dict[str, Any]) -> None:
    policies = core.compile_policies(case["policies"]) if "policies" in case else None
    merged = core.merge3(case["base"], case["ours"], case["theirs"], policies)
    assert core.equal(merged.state, case["expected"]["state"])
    assert merged.conflicts == case["expected"]["conflicts"]
    assert core.equal(core.apply_patch(case["theirs"], merged.ops), merged.state)
