"""JSON Schemas (2020-12) of every message, made from the structs that the service itself decodes and encodes."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from docs.generate.fields import meaning
from syncbridge.core import messages
from syncbridge.core.entry import Entry, HandoffNote, Undoing
from syncbridge.core.messages import AnyClientMessage, AnyServerMessage

Schema = dict[str, Any]
Side = Literal["device", "server"]
DIALECT = "https://json-schema.org/draft/2020-12/schema"

OP: Schema = {
    "title": "Operation",
    "description": "One RFC 6902 operation. Pointers are RFC 6901.",
    "type": "object",
    "properties": {
        "op": {"enum": ["add", "remove", "replace", "move", "copy", "test"]},
        "path": {"type": "string"},
        "from": {"type": "string"},
        "value": {},
    },
    "required": ["op", "path"],
    "allOf": [
        {"if": {"properties": {"op": {"enum": ["add", "replace", "test"]}}}, "then": {"required": ["value"]}},
        {"if": {"properties": {"op": {"enum": ["move", "copy"]}}}, "then": {"required": ["from"]}},
    ],
}
CONFLICT: Schema = {
    "title": "Conflict",
    "description": "One place where a change did not simply apply.",
    "type": "object",
    "properties": {
        "path": {"type": "string", "description": "RFC 6901 pointer to the place."},
        "policy": {
            "enum": ["last", "latest", "max", "min", "counter", "set", "append", "owner", "playhead", "manual"],
            "description": "The merge policy that decided.",
        },
        "winner": {
            "enum": ["ours", "theirs", "both", "manual"],
            "description": "ours: this push's value. theirs: the other's. both: merged. manual: a person decides.",
        },
        "ours": {"description": "What this push wanted there; left out where it removed."},
        "theirs": {"description": "What stood there; left out where it was removed."},
        "device": {"type": "string", "description": "The device of this push; empty for an edit over REST."},
        "base": {"type": "integer", "description": "The base of this push."},
        "theirs_device": {"type": "string", "description": "Who wrote what stood there, where that is known."},
        "theirs_version": {"type": "integer", "description": "The entry that wrote it, where that is known."},
    },
    "required": ["path", "policy", "winner"],
}
PLAYHEAD: Schema = {
    "title": "Playhead",
    "description": "An anchor: at server time `at` the session stood at `position` and goes on at `rate`.",
    "type": "object",
    "properties": {
        "position": {"type": "number", "minimum": 0, "description": "Seconds."},
        "rate": {"type": "number", "minimum": 0, "description": "Seconds of session a second of time; 0: paused."},
        "at": {"type": "integer", "minimum": 0, "description": "Server time, ms."},
        "duration": {"type": ["number", "null"], "minimum": 0, "description": "Seconds: where the session ends."},
    },
    "required": ["position"],
}
_REFERENCE = re.compile(r'"#/\$defs/(\w+)"')
# What is plain JSON to the code and has a form of its own in the protocol.
_FORMS = {"ops": ("Operation", OP), "conflicts": ("Conflict", CONFLICT), "playhead": ("Playhead", PLAYHEAD)}


class Message(NamedTuple):
    """One message of the protocol."""

    side: Side
    tag: str
    struct: type[msgspec.Struct]

    @property
    def file(self) -> str:
        """Its schema's place below docs/schemas."""
        return f"{self.side}/{self.tag}.json"


def all_messages() -> Iterator[Message]:
    """Every message, device to server first, in the order of the code."""
    sides: tuple[tuple[Side, Any], ...] = (("device", AnyClientMessage), ("server", AnyServerMessage))
    for side, union in sides:
        for struct in get_args(union):
            yield Message(side, str(struct.__struct_config__.tag), struct)


def summary(struct: type) -> str:
    """The struct's own words, in one line of Markdown."""
    return " ".join((inspect.getdoc(struct) or "").replace("``", "`").split())


def schema_of(message: Message) -> Schema:
    """The whole schema of one message, with what it refers to inside."""
    (reference, _), components = msgspec.json.schema_components(
        [message.struct, Entry], ref_template="#/$defs/{name}", schema_hook=lambda _: {"description": "Any JSON value."}
    )
    name = reference["$ref"].rpartition("/")[2]
    if message.tag == "entry":
        # The wire frame is an entry with two members more; the struct that reads it is looser than what is written.
        components[name]["properties"].update(components["Entry"]["properties"])
    for key, component in components.items():
        _describe(component, message.tag if key == name else key)
    body = components.pop(name)
    del body["title"]
    body["description"] = summary(message.struct)
    used = _reached(body, components | {name: copy.deepcopy(form) for name, form in _FORMS.values()})
    whole = {"$schema": DIALECT, "title": message.tag, **body}
    return {**whole, "$defs": used} if used else whole


def schema_of_any(side: Side) -> Schema:
    """Any message of one direction; the others' files are beside it."""
    files = [message.file.partition("/")[2] for message in all_messages() if message.side == side]
    who = "a device says" if side == "device" else "the server says"
    return {
        "$schema": DIALECT,
        "title": f"What {who}",
        "description": "The member `type` says which message it is. Unknown members are to be ignored.",
        "oneOf": [{"$ref": file} for file in files],
    }


def files() -> dict[str, Schema]:
    """Every schema by its place below docs/schemas."""
    made = {message.file: schema_of(message) for message in all_messages()}
    return made | {f"{side}/any.json": schema_of_any(side) for side in ("device", "server")}


def struct_named(name: str) -> type[msgspec.Struct]:
    """The structure behind a name in ``$defs``."""
    known: dict[str, type[msgspec.Struct]] = {"Entry": Entry, "HandoffNote": HandoffNote, "Undoing": Undoing}
    found: type[msgspec.Struct] = known.get(name) or getattr(messages, name)
    return found


def _describe(component: Schema, owner: str) -> None:
    if "description" in component:
        component["description"] = summary_text(component["description"])
    for name, schema in component.get("properties", {}).items():
        if name == "type" and "enum" in schema:
            component["properties"][name] = {"const": schema["enum"][0]}
            continue
        form = _FORMS.get(name)
        if form is not None:
            schema = _with_form(schema, f"#/$defs/{form[0]}")
        if "$ref" in schema:
            schema = {"$ref": schema["$ref"]}
        if schema.get("default") in ("", 0, [], None, False) and "default" in schema:
            schema = {key: value for key, value in schema.items() if key != "default"}
        component["properties"][name] = {**schema, "description": meaning(owner, name)}


def summary_text(text: str) -> str:
    """A docstring as one line of Markdown."""
    return " ".join(text.replace("``", "`").split())


def _with_form(schema: Schema, reference: str) -> Schema:
    if schema.get("type") == "array":
        return {**schema, "items": {"$ref": reference}}
    if "anyOf" in schema:
        return {**schema, "anyOf": [_with_form(one, reference) for one in schema["anyOf"]]}
    return schema if schema.get("type") == "null" else {"$ref": reference}


def _reached(body: Schema, defs: dict[str, Schema]) -> dict[str, Schema]:
    """Those definitions that the body leads to, sorted by name."""
    found: dict[str, Schema] = {}
    waiting = _references(body)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = defs[name]
            waiting |= _references(defs[name])
    return dict(sorted(found.items()))


def _references(schema: Schema) -> set[str]:
    return set(_REFERENCE.findall(msgspec.json.encode(schema).decode()))
