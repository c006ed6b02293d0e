"""What the page about events shows is what the service sends."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from docs.generate import cloudevents
from syncbridge.adapters.cluster.events import broker
from syncbridge.adapters.cluster.events import outbox as of_sessions
from syncbridge.adapters.cluster.events.pacing import AT_ONCE
from syncbridge.adapters.cluster.events.publisher import WRITE_MAX
from syncbridge.adapters.cluster.events.relay import RelayRules
from syncbridge.core.facts import FACT_KINDS
from syncbridge.core.retention import HISTORY_ENTRIES_MAX
from syncbridge.records import outbox
from syncbridge.wire.cloudevents import TYPE_PREFIX
from tests.docs import pages
from tests.docs.pages import Block
from tests.house.files import ROOT

PAGE = (ROOT / "docs/events.md").read_text("utf-8")


def validator(event: dict[str, object]) -> Draft202012Validator:
    schema = cloudevents.schema_of_name(str(event["type"]).removeprefix(TYPE_PREFIX))
    return Draft202012Validator(schema, format_checker=FormatChecker())


@pytest.mark.parametrize("block", pages.blocks("json event"), ids=str)
def test_an_event_in_a_page_is_as_its_schema_says(block: Block) -> None:
    event = json.loads(block.text)
    validator(event).validate(event)


def test_an_event_with_a_slip_in_it_is_told() -> None:
    event = json.loads(pages.blocks("json event")[0].text)
    assert not validator(event).is_valid({**event, "id": ""})
    assert not validator(event).is_valid({**event, "data": {**event["data"], "is_away": "yes"}})
    assert not validator(event).is_valid({key: value for key, value in event.items() if key != "source"})


def test_every_member_that_is_explained_is_one_and_the_reverse() -> None:
    used = {name for kind in FACT_KINDS for name in kind.data.__struct_fields__}
    assert used == cloudevents.MEANINGS.keys()


def test_the_bounds_in_the_page_are_those_of_the_code() -> None:
    assert f"{HISTORY_ENTRIES_MAX:,} versions of a session" in PAGE
    assert f"{outbox.ROWS_MAX:,} events of accounts" in PAGE
    assert f"{broker.UNROUTED_MESSAGES_MAX:,} messages and {broker.UNROUTED_TTL_MS // 86_400_000} days" in PAGE
    assert f"A lease lasts {outbox.LEASE_MS // 1000}\nseconds" in PAGE
    assert outbox.LEASE_MS == of_sessions.LEASE_MS
    assert f"{of_sessions.FACTS_MAX:,} events of each hash slot" in PAGE


def test_the_pace_in_the_page_is_that_of_the_code() -> None:
    rules = RelayRules()
    assert f"tells {rules.per_s_min:,} events a second" in PAGE
    assert (rules.drain_s, f"and at most {rules.per_s_max:,}." in PAGE) == (30, True)
    assert f"At most {rules.in_flight_max} events are under way" in PAGE
    assert (AT_ONCE, WRITE_MAX) == (8, 8)
