"""The OpenAPI document is true: whatever schemathesis makes of it is answered as it says."""

from __future__ import annotations

from pathlib import Path

from tests.openapi.contract import hold


def test_service_does_what_its_document_says(tmp_path: Path) -> None:
    code, told = hold(tmp_path, "--seed=1", "--max-examples=2", "--phases=examples,coverage,fuzzing,stateful")
    assert code == 0, told


def test_service_that_breaks_its_document_is_found(tmp_path: Path) -> None:
    options = ("--seed=1", "--phases=coverage", "--include-method=GET", "--no-shrink")
    code, told = hold(tmp_path, *options, paths="^/v1/(me|sessions)$", plants=("list-broken", "problems-mislabelled"))
    assert code == 1
    assert "Server error" in told, told
    assert "Undocumented Content-Type" in told, told
