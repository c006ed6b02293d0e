"""JSON Schemas and the table of the events for other services, made from the structs that they are encoded from."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from syncbridge.core.facts import FACT_KINDS, Change, Fact, FactKind
from syncbridge.core.ids import AccountId, SessionId
from syncbridge.wire.cloudevents import SPEC_VERSION, TYPE_PREFIX, as_cloudevent, schema_name

Schema = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"

MEANINGS: dict[str, str] = {
    "account": "Whose it is.",
    "session": "Which session.",
    "epoch": "Which log of the session: another one where a lost log was rebuilt, and versions begin anew.",
    "version": "The version of the log at which it stands; of a change, the newest one.",
    "device": "The device that did it; empty where none did (REST, expiry).",
    "first_version": "The oldest version of the change.",
    "handoff": "The handoff's id, the same from offer to outcome.",
    "source": "The device that was active; empty where none was.",
    "target": "The device that is asked, or is active now.",
    "expires_at": "When the offer ends, in milliseconds of server time.",
    "is_away": "The target has longer to answer than a connected device needs: it may have to be woken.",
    "mode": "`offer`: the source asked. `take`: the target took.",
    "fence": "Grows with each handoff; what came under an older one is stale.",
    "uncertainty_ms": "How far the playhead may be off, where the source was not heard.",
    "reason": "Why nothing came of the offer: `declined`, `cancelled` or `expired`.",
    "conflicts": "Places of the change that did not simply apply.",
    "undecided": "How many of them a person has to decide.",
    "policies": "The merge policies that decided, each once.",
}
"""What each member of any event's data means."""

_OWN_MEANINGS = {("device.joined", "device"): "The device.", ("device.removed", "device"): "The device."}

_ATTRIBUTES: dict[str, Schema] = {
    "specversion": {"const": SPEC_VERSION, "description": "The version of CloudEvents."},
    "id": {
        "type": "string",
        "minLength": 1,
        "description": "With `source`, this event's name; the same when repeated.",
    },
    "source": {"type": "string", "format": "uri-reference", "minLength": 1, "description": "Which installation."},
    "subject": {"type": "string", "description": "What it is about; events about one subject come in order."},
    "time": {"type": "string", "format": "date-time", "description": "When it happened, by server time."},
    "datacontenttype": {"const": "application/json", "description": "The form of `data`."},
}


def schema_of(kind: FactKind) -> Schema:
    """The schema of one type of event, the envelope and its data."""
    (_, form), components = _components(kind)
    data = components[form]
    properties = {
        name: {**schema, "description": _OWN_MEANINGS.get((kind.name, name), MEANINGS[name])}
        for name, schema in data["properties"].items()
    }
    for schema in properties.values():
        schema.pop("default", None)
    return {
        "$schema": DIALECT,
        "$id": schema_name(kind.name),
        "title": kind.name,
        "description": kind.meaning,
        "type": "object",
        "properties": {
            **_ATTRIBUTES,
            "type": {"const": TYPE_PREFIX + kind.name, "description": "What happened."},
            "dataschema": {"const": schema_name(kind.name), "description": "This schema."},
            "data": {"type": "object", "properties": properties, "required": list(properties)},
        },
        "required": [*_ATTRIBUTES, "type", "dataschema", "data"],
    }


def _components(kind: FactKind) -> tuple[tuple[Any, str], dict[str, Any]]:
    (reference,), components = msgspec.json.schema_components([kind.data], ref_template="{name}")
    return (reference, reference["$ref"]), components


def files() -> dict[str, Schema]:
    """Every schema by its place below docs/schemas."""
    return {f"event/{kind.name}.json": schema_of(kind) for kind in FACT_KINDS}


def table() -> str:
    """The Markdown table of every event: its routing key, what happened, and what its data says."""
    rows = ["| routing key | what happened | subject | data |", "| --- | --- | --- | --- |"]
    for kind in FACT_KINDS:
        fields = ", ".join(f"`{name}`" for name in kind.data.__struct_fields__)
        subject = "session" if "session" in kind.data.__struct_fields__ else "account"
        rows.append(f"| [`{kind.name}`](schemas/event/{kind.name}.json) | {kind.meaning} | {subject} | {fields} |")
    return "\n".join(rows) + "\n"


def members() -> str:
    """The Markdown table of what the members of any data mean."""
    return (
        "\n".join(["| member | meaning |", "| --- | --- |", *(f"| `{n}` | {m} |" for n, m in MEANINGS.items())]) + "\n"
    )


def example() -> str:
    """A whole event, as its message's body."""
    at = 1_795_600_000_123
    data = {"account": "acc_7d1f", "session": "ses_41c2", "epoch": "e8b0", "version": 18, "device": "phone-1"}
    data |= {"handoff": "hnd_90a3", "source": "phone-1", "target": "tv-2", "expires_at": at + 600_000, "is_away": True}
    fact = Fact("ses_41c2:e8b0:18:handoff.offered", "handoff.offered", "ses_41c2", "acc_7d1f", at, data)
    change = Change(SessionId("ses_41c2"), AccountId("acc_7d1f"), "e8b0", 12, 17, at - 900, at - 40).as_fact()
    source = "https://sync.example.com/v1"
    return "\n".join(
        f"```json event\n{json.dumps(as_cloudevent(one, source), indent=2)}\n```\n" for one in (fact, change)
    )


def schema_of_name(name: str) -> Schema:
    """The schema of the type that is routed by this name."""
    return next(schema_of(kind) for kind in FACT_KINDS if kind.name == name)
