"""Every route that names something, asked by every stranger: what is told apart that must not be."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from tests.isolation.world import CANARY, Person, World

Json = dict[str, Any]

BODIES: dict[str, Any] = {
    "PATCH /v1/sessions/{session}": {"title": "taken over"},
    "PUT /v1/sessions/{session}/state": {"taken": "over"},
    "PATCH /v1/sessions/{session}/state": [{"op": "add", "path": "/taken", "value": "over"}],
    "POST /v1/sessions/{session}/handoffs": {"mode": "take", "to": "ms-device"},
}
"""Where the least body that the document allows would not change anything."""

NAMED_INSIDE = {
    "POST /v1/sessions": ("device", {"type": "custom", "device": "NAME"}),
    "POST /v1/sessions/OWN/handoffs": ("device", {"mode": "offer", "to": "NAME"}),
}
"""Routes that name something in the body."""

_PASSING = {"date", "x-request-id", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit", "retry-after"}


@dataclass(frozen=True)
class Operation:
    """One method of one path of the document, with a body that it takes."""

    method: str
    path: str
    body: Any
    media: str

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.path)


def operations(document: Json) -> Iterator[Operation]:
    """Every operation whose path names something."""
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            if "{" not in path or not path.startswith("/v1/"):
                continue
            content = told.get("requestBody", {}).get("content", {})
            media = next(iter(content), "application/json")
            least = example(content[media]["schema"], document) if content else None
            yield Operation(method.upper(), path, BODIES.get(f"{method.upper()} {path}", least), media)


def example(schema: Json, document: Json) -> Any:
    """The least value that the schema allows."""
    if "$ref" in schema:
        return example(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    for key in ("examples", "enum", "anyOf", "oneOf"):
        if schema.get(key):
            return schema[key][0] if key in ("examples", "enum") else example(schema[key][0], document)
    kind = schema.get("type")
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: example(properties[name], document) for name in schema.get("required", ())}
    if kind in ("integer", "number"):
        return schema.get("minimum", 1)
    return {"array": [], "string": "x" * schema.get("minLength", 1), "boolean": False}.get(str(kind), {})


def unnamed(found: list[Operation], world: World) -> list[str]:
    """Operations with a parameter of which nobody said what a foreign one is."""
    return [f"{one.method} {one.path}" for one in found if not set(one.parameters) <= world.names.keys()]


async def told_apart(world: World, stranger: Person, found: list[Operation]) -> list[str]:
    """Answers by which the stranger could tell that something of Olga's is there, and leaks of hers."""
    complaints: list[str] = []
    for one in found:
        for varied in one.parameters:
            answers = {
                kind: await stranger.ask(one.method, _path(world, stranger, one, varied, name), one.body, one.media)
                for kind, name in world.names[varied].items()
            }
            complaints += _compared(f"{one.method} {one.path} by {varied}", answers, world.names[varied])
    for route, (parameter, body) in NAMED_INSIDE.items():
        method, path = route.split(" ")
        if "OWN" in path and (not stranger.own_session or stranger.is_guest):
            continue
        answers = {
            kind: await stranger.ask(
                method,
                path.replace("OWN", stranger.own_session),
                json.loads(json.dumps(body).replace("NAME", name)),
            )
            for kind, name in world.names[parameter].items()
        }
        complaints += _compared(f"{route} by {parameter} inside", answers, world.names[parameter])
    complaints += [f"told of Olga: {told[:200]}" for told in stranger.told if CANARY in told]
    return complaints


def _path(world: World, stranger: Person, one: Operation, varied: str, name: str) -> str:
    """The path with this name for the parameter that is varied; what is asked for in a session, in the stranger's."""
    path = one.path.replace(f"{{{varied}}}", name)
    if varied != "session" and stranger.own_session:
        path = path.replace("{session}", stranger.own_session)
    for other, kinds in world.names.items():
        path = path.replace(f"{{{other}}}", kinds["foreign"])
    return path


def _compared(what: str, answers: dict[str, httpx.Response], names: dict[str, str]) -> Iterator[str]:
    forms = {kind: _form(answer, names[kind]) for kind, answer in answers.items()}
    yield from (f"{what}: {kind} was answered {answers[kind]}" for kind in answers if answers[kind].status_code < 400)
    for kind, form in forms.items():
        if form != forms["unknown"]:
            yield f"{what}: {kind} {form} is not unknown {forms['unknown']}"


def _form(answer: httpx.Response, name: str) -> object:
    """What of an answer must be alike: status, headers, body and its length."""
    headers = {key: value for key, value in answer.headers.items() if key not in _PASSING}
    body = answer.text.replace(answer.headers["x-request-id"], "*")
    return answer.status_code, headers, body.replace(name, "*")
