"""The table of limits: every number of the configuration is in it, and what it names exists."""

from __future__ import annotations

import re

import pytest

from syncbridge import errors
from syncbridge.bounds import BOUNDS, KEPT_TIMES, RHYTHMS, Bound, of
from syncbridge.config import explain
from syncbridge.telemetry.metrics import METRICS
from syncbridge.wire.close import CloseCode

ROWS = explain(None, {})
NUMBERS = [row.key for row in ROWS if re.fullmatch(r"[\d.]+", row.value) and not re.search(r"\.\d+\.", row.value)]
_METRIC = re.compile(r'(\w+)(?:\{(\w+)="(\w+)"\})?')
BY_NAME = {metric.name: metric for metric in METRICS}
REFUSALS_OF_THE_DOOR = {"handshakes_max", "request_timeout", "bad_handshake"}
"""What is counted of connections that never became sockets, beside error codes."""


@pytest.mark.parametrize("key", NUMBERS)
def test_every_number_of_the_configuration_is_a_limit_of_the_table_or_said_to_be_none(key: str) -> None:
    told = [of(key) is not None, key in RHYTHMS, key.startswith(KEPT_TIMES)]
    assert told.count(True) == 1


def test_numbers_are_found_at_all() -> None:
    assert {"limits.ops_max", "net.fragments_max", "plans.free.push_burst", "auth.login_burst", "snapshots_max"} <= set(
        NUMBERS
    )


def test_every_limit_has_its_reason_where_it_is_declared() -> None:
    assert [row.key for row in ROWS if row.key in NUMBERS and not row.description] == []


def test_the_table_names_no_setting_that_is_not_there_and_none_twice() -> None:
    known = {of_plan(row.key) for row in ROWS}
    named = [key for bound in BOUNDS for key in bound.keys] + list(RHYTHMS)
    assert sorted(set(named) - known) == []
    assert len(named) == len(set(named))


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: bound.keys[0])
def test_what_the_peer_gets_exists(bound: Bound) -> None:
    if bound.code:
        fault = errors.by_code()[bound.code]
        assert bound.close in (0, fault.close_code)
    if bound.close:
        assert CloseCode(bound.close)
    assert bound.gets


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: bound.keys[0])
def test_its_metric_exists_with_its_label(bound: Bound) -> None:
    found = _METRIC.fullmatch(bound.metric)
    assert found is not None
    name, label, value = found.groups()
    metric = BY_NAME[name]
    if label is None:
        return
    assert metric.labels == (label,)
    if label == "code":
        assert value in errors.by_code().keys() | REFUSALS_OF_THE_DOOR
    else:
        assert value in metric.known


def of_plan(key: str) -> str:
    return re.sub(r"^plans\.[^.]+\.", "plans.*.", key)
