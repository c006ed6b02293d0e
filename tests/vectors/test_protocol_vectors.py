"""The vectors of messages, playhead, hash and resume, held against the core that every SDK has to agree with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import rfc8785

from syncbridge.core.digest import state_hash
from syncbridge.core.messages import AnyClientMessage, AnyServerMessage, ServerMessage
from syncbridge.core.playhead import Anchor, parse
from syncbridge.errors import SyncBridgeError
from syncbridge.limits import Limits
from syncbridge.wire import codec_client
from syncbridge.wire.codec import MessageDecoder
from tests.house.files import ROOT
from tests.vectors.record import layout, recorded
from tests.vectors.transcript import Play

VECTORS = ROOT / "clients/vectors"
TRANSCRIPTS = sorted((VECTORS / "resume").glob("*.json"))


def read(name: str) -> Any:
    return json.loads((VECTORS / name).read_text("utf-8"))


def tags(union: Any) -> set[str]:
    return {str(struct.__struct_config__.tag) for struct in union.__args__}


# -- messages ---------------------------------------------------------------------------------------------------


def test_every_message_of_both_directions_has_an_example() -> None:
    assert {one["type"] for one in read("messages/device.json")["messages"]} == tags(AnyClientMessage)
    assert {one["type"] for one in read("messages/server.json")["messages"]} == tags(AnyServerMessage)


@pytest.mark.parametrize("example", read("messages/device.json")["messages"], ids=lambda one: str(one["type"]))
def test_an_example_of_a_device_is_accepted_and_says_nothing_that_is_ignored(example: Any) -> None:
    message = MessageDecoder(Limits()).decode(json.dumps(example).encode())
    again = json.loads(codec_client.encode(message))
    assert again == {key: value for key, value in example.items() if (key, value) != ("protocol", 1)}


@pytest.mark.parametrize("example", read("messages/server.json")["messages"], ids=lambda one: str(one["type"]))
def test_an_example_of_the_server_is_what_the_server_would_write(example: Any) -> None:
    message = codec_client.decode(json.dumps(example).encode())
    assert isinstance(message, ServerMessage)
    assert msgspec.json.decode(msgspec.json.encode(message)) == example


@pytest.mark.parametrize("case", read("messages/refused.json")["frames"], ids=lambda one: str(one["name"]))
def test_a_frame_that_is_no_message_is_refused_with_its_place(case: Any) -> None:
    with pytest.raises(SyncBridgeError) as fault:
        MessageDecoder(Limits()).decode(case["frame"].encode())
    assert fault.value.code == case["code"]
    assert fault.value.message.startswith(case["place"])


# -- playhead and hash ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", read("playhead/position.json")["cases"], ids=lambda one: str(one["name"]))
def test_playhead_stands_where_the_vector_says(case: Any) -> None:
    anchor = parse(case["playhead"])
    assert isinstance(anchor, Anchor)
    assert anchor.position_at(case["now_ms"]) == pytest.approx(case["position_s"], abs=1e-6)


@pytest.mark.parametrize("value", read("playhead/invalid.json")["values"], ids=str)
def test_value_that_is_no_anchor_is_refused(value: Any) -> None:
    assert isinstance(parse(value), str)


@pytest.mark.parametrize("case", read("hash/states.json")["cases"], ids=lambda one: str(one["name"]))
def test_hash_is_that_of_the_canonical_form_by_another_hand(case: Any) -> None:
    canonical = rfc8785.dumps(case["state"])
    assert canonical.decode() == case["canonical"]
    assert hashlib.sha256(canonical).hexdigest()[:32] == case["hash"] == state_hash(case["state"])


# -- transcripts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript_is_what_the_machines_say(path: Path) -> None:
    transcript = json.loads(path.read_text("utf-8"))
    play = Play(transcript)
    for index, step in enumerate(transcript["steps"]):
        heard = play.perform(step)
        assert _without_sentences(heard) == _without_sentences(step.get("hears", {})), f"step {index} of {path.name}"
    assert play.ends() == transcript["ends"]


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript_is_kept_in_the_layout_that_recording_writes(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text == layout(json.loads(text))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_every_device_is_told_every_version_once_and_comes_to_the_state_of_the_log(path: Path) -> None:
    transcript = json.loads(path.read_text("utf-8"))
    told: dict[str, int] = {}
    for step in transcript["steps"]:
        for device, messages in step.get("hears", {}).items():
            for message in messages:
                if message["type"] == "joined":
                    told[device] = message["position"]["version"]
                elif message["type"] in ("entry", "ack") and message["version"] > told[device]:
                    assert message["version"] == told[device] + 1
                    told[device] = message["version"]
                elif message["type"] == "entry":
                    raise AssertionError(f"{device} was told version {message['version']} twice")
    assert max(told.values(), default=1) <= transcript["ends"]["version"]


def test_recording_a_transcript_again_changes_nothing() -> None:
    transcript = json.loads(TRANSCRIPTS[0].read_text("utf-8"))
    assert layout(recorded(transcript)) == TRANSCRIPTS[0].read_text("utf-8")


def test_a_changed_transcript_is_told() -> None:
    transcript = read("resume/same-push-three-times.json")
    wrong = json.loads(json.dumps(transcript).replace('"value": 7', '"value": 8', 1))
    assert recorded(wrong)["steps"] != transcript["steps"]


def _without_sentences(heard: Any) -> Any:
    """Sentences are for people and may be bettered; `code` is what counts."""
    return {
        device: [{key: value for key, value in one.items() if key != "message"} for one in messages]
        for device, messages in heard.items()
    }
