"""The AsyncAPI 3.0 document of the socket, made from the same structs as the JSON Schemas."""

from __future__ import annotations

from typing import Any

from docs.generate.schemas import Message, all_messages, summary
from syncbridge import __version__
from syncbridge.core.messages import SUBPROTOCOL

ANSWERS: dict[str, tuple[str, ...]] = {
    "hello": ("welcome", "error"),
    "auth": ("token.accepted", "error"),
    "join": ("joined", "error"),
    "leave": ("left", "error"),
    "push": ("ack", "reject", "error"),
    "handoff.offer": ("handoff.offered", "error"),
    "handoff.take": ("handoff.done", "error"),
    "handoff.ready": ("handoff.done", "error"),
    "handoff.decline": ("handoff.failed", "error"),
    "handoff.cancel": ("handoff.failed", "error"),
    "handoff.confirm": ("error",),
    "signal": ("error",),
    "clock": ("clock",),
}
"""What answers each message of a device."""

_DESCRIPTION = (
    "One connection of one device. JSON text frames, one message a frame. The normative text is docs/protocol.md;"
    " this document says the same about the shape of the messages, and nothing about their meaning."
)


def document() -> dict[str, Any]:
    """The whole document; payloads refer to docs/schemas, beside which it lies."""
    messages = list(all_messages())
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "SyncBridge",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {
                "host": "127.0.0.1:8080",
                "protocol": "ws",
                "description": "What `make run` starts. Elsewhere `wss`, with the same path.",
            }
        },
        "channels": {
            "socket": {
                "address": "/v1/ws",
                "description": f"Subprotocol `{SUBPROTOCOL}`. No query: the token goes into `hello`.",
                "messages": {_key(one): {"$ref": f"#/components/messages/{_key(one)}"} for one in messages},
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            }
        },
        "operations": {_operation_key(one): _operation(one) for one in messages},
        "components": {"messages": {_key(one): _message(one) for one in messages}},
    }


def _key(message: Message) -> str:
    return f"{message.side}.{message.tag}"


def _operation_key(message: Message) -> str:
    return f"{'receive' if message.side == 'device' else 'send'}.{message.tag}"


def _operation(message: Message) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "action": "receive" if message.side == "device" else "send",
        "channel": {"$ref": "#/channels/socket"},
        "summary": summary(message.struct).partition(". ")[0].rstrip(".") + ".",
        "messages": [_reference(_key(message))],
    }
    if message.side == "device":
        operation["reply"] = {
            "channel": {"$ref": "#/channels/socket"},
            "messages": [_reference(f"server.{tag}") for tag in ANSWERS[message.tag]],
        }
    return operation


def _reference(key: str) -> dict[str, str]:
    return {"$ref": f"#/channels/socket/messages/{key}"}


def _message(message: Message) -> dict[str, Any]:
    return {
        "name": message.tag,
        "title": message.tag,
        "summary": summary(message.struct),
        "contentType": "application/json",
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": {"$ref": f"./schemas/{message.file}"},
        },
    }
