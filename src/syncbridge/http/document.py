"""What the OpenAPI document says of itself where the framework cannot know: errors, parameters, plain answers."""

from __future__ import annotations

from typing import Any

from syncbridge.http.problems import Problem

PARAMETERS = {
    "session": "The session's id.",
    "device": "The device's id.",
    "handoff": "The handoff's id.",
    "snapshot": "The snapshot's id.",
    "conflict": "The conflict's id, as the list tells it.",
    "receipt": "The receipt's id, as the erasure was answered.",
    "status": "Only sessions of this status.",
    "type": "Only sessions of this type.",
    "format": "`svg` for a QR code, `json` for the code itself; without it, what `Accept` prefers.",
    "version": "A version of the session's log.",
    "at": "A moment instead: the state as it was then, in ms since 1970.",
    "from_at": "A moment instead of `from`, in ms since 1970.",
    "to_at": "A moment instead of `to`, in ms since 1970.",
}
"""What a parameter means whose route does not say it: the same everywhere."""

ANSWERS = {
    "200": "As asked.",
    "201": "It is made.",
    "202": "It is asked for, and not done yet.",
    "204": "It is done; the answer is empty.",
}
_PLACEHOLDER = "Successful Response"


def complete(document: dict[str, Any]) -> None:
    """The document holds the schema of errors, which no route names as its own, and says what each thing is."""
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas = document["components"]["schemas"]
    schemas.update(schema.pop("$defs", {}))
    schemas["Problem"] = schema
    for item in document["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in PARAMETERS:
                    parameter.setdefault("description", PARAMETERS[parameter["name"]])
            for status, answer in operation["responses"].items():
                if answer["description"] == _PLACEHOLDER:
                    answer["description"] = ANSWERS[status]
