"""The header of an event's message is the library's, byte for byte."""

from __future__ import annotations

from datetime import UTC, datetime

import pamqp.frame
import pytest
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from syncbridge.adapters.cluster.events.framing import header_frame
from syncbridge.core.facts import FACT_KINDS


@pytest.mark.parametrize("message_id", ["ses_1:e:2:session.paused", "ä" * 100, "x" * 255])
@pytest.mark.parametrize(("at_ms", "size", "channel"), [(1_790_000_000_999, 480, 1), (0, 0, 65_535), (1, 1 << 40, 2)])
def test_a_header_is_the_library_s_byte_for_byte(message_id: str, at_ms: int, size: int, channel: int) -> None:
    for kind in FACT_KINDS:
        properties = Basic.Properties(
            content_type="application/cloudevents+json",
            content_encoding="utf-8",
            delivery_mode=2,
            message_id=message_id,
            timestamp=datetime.fromtimestamp(at_ms // 1000, UTC),
            message_type="com.harmonyflow." + kind.name,
        )
        theirs = pamqp.frame.marshal(ContentHeader(properties=properties, body_size=size), channel)
        assert header_frame(kind.name, message_id, at_ms, size, channel) == theirs


def test_an_id_that_no_header_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="256"):
        header_frame("session.paused", "x" * 256, 0, 0, 1)
