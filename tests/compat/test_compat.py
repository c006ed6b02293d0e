"""An older client with this server, and this client with an older server: version 1 only grows."""

from __future__ import annotations

import json
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from syncbridge.core.messages import Ack, ServerMessage, Welcome
from syncbridge.limits import Limits
from syncbridge.runtime import driver, engine
from syncbridge.wire import codec_client
from syncbridge.wire.codec import MessageDecoder, encode_message
from tests.compat.tape import SCRIPTS, TAPES, Json, missing, replay

TAPE = {name: json.loads((TAPES / f"{name}.json").read_text("utf-8")) for name in SCRIPTS}
HEARD = [
    pytest.param(message, id=f"{name}-{number}-{device}-{message['type']}")
    for name, tape in TAPE.items()
    for number, step in enumerate(tape["steps"])
    for device, messages in step["hears"].items()
    for message in messages
]
SAID = [
    pytest.param(step["says"], id=f"{name}-{number}-{step['says']['type']}")
    for name, tape in TAPE.items()
    for number, step in enumerate(tape["steps"])
    if step["says"]["type"] != "a.type.of.later" and step["says"].get("session") != 7
]


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """A service in this process has no log of its own."""
    with capture_logs() as events:
        yield events


def grown(value: Any) -> Any:
    """The value of a later version: members that nobody knows yet, in every object that is no plain data."""
    if isinstance(value, dict):
        inner = {
            name: one if name in ("data", "state", "playhead", "ops", "conflicts", "handoff") else grown(one)
            for name, one in value.items()
        }
        return {**inner, "x_of_later": {"deep": [1, {"er": None}]}}
    return [grown(one) for one in value] if isinstance(value, list) else value


# -- an older client, this server -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TAPE)
async def test_older_client_hears_from_this_server_what_it_heard_before(name: str, tmp_path: Path) -> None:
    assert await replay(TAPE[name], tmp_path) == []


@pytest.mark.parametrize("said", SAID)
def test_message_with_members_of_later_is_the_message_without_them(said: Json) -> None:
    text = json.dumps(said).replace("$", "")
    later = {**json.loads(text), "x_of_later": {"deep": [1, {"er": None}]}}
    decode = MessageDecoder(Limits()).decode
    assert decode(json.dumps(later).encode()) == decode(text.encode())


@pytest.mark.parametrize(
    ("plant", "told"),
    [
        ({"at": None}, "step 2, phone, ack.at is gone"),
        ({"version": 7}, "step 2, phone, ack.version: 7 was 2"),
        ({"seq": "1"}, "step 2, phone, ack.seq: '1' was 1"),
    ],
    ids=["a member is gone", "a member means something else", "a member is of another kind"],
)
async def test_broken_promise_is_heard_in_the_replay(
    plant: Json, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(message: ServerMessage) -> bytes:
        if not isinstance(message, Ack):
            return encode_message(message)
        changed = json.loads(encode_message(message)) | plant
        return json.dumps({name: value for name, value in changed.items() if value is not None}).encode()

    for module in (driver, engine):
        monkeypatch.setattr(module, "encode_message", encode)
    assert told in await replay(TAPE["edits-and-conflicts"], tmp_path)


# -- this client, an older server -------------------------------------------------------------------------------


@pytest.mark.parametrize("heard", HEARD)
def test_this_client_understands_all_that_an_older_server_said(heard: Json) -> None:
    message = codec_client.decode(json.dumps(heard).encode())
    assert isinstance(message, ServerMessage)
    assert missing(heard, json.loads(encode_message(message)), heard["type"]) == []


@pytest.mark.parametrize("heard", HEARD)
def test_this_client_passes_over_members_of_a_later_server(heard: Json) -> None:
    assert codec_client.decode(json.dumps(grown(heard)).encode()) == codec_client.decode(json.dumps(heard).encode())


def test_this_client_passes_over_a_message_of_a_later_server() -> None:
    assert codec_client.decode(b'{"type":"a.type.of.later","session":"s"}') is None


@pytest.mark.parametrize("tape", TAPE.values(), ids=TAPE.keys())
def test_this_client_takes_an_older_welcome(tape: Json) -> None:
    message = codec_client.decode(json.dumps(tape["welcome"]).encode())
    assert isinstance(message, Welcome)
    assert message.limits.ops_max == tape["welcome"]["limits"]["ops_max"]


def test_tapes_hold_every_way_of_a_handoff_and_of_an_answer() -> None:
    types = {message["type"] for tape in TAPE.values() for step in tape["steps"] for _, message in _heard(step)}
    assert types >= {
        "ack", "clock", "entry", "error", "handoff.done", "handoff.failed", "handoff.offered", "handoff.prepare",
        "joined", "left", "presence", "reject", "signal", "token.accepted",
    }  # fmt: skip


def _heard(step: Json) -> Iterator[tuple[str, Json]]:
    for device, messages in step["hears"].items():
        for message in messages:
            yield device, message
